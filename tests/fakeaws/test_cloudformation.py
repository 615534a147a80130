"""The fake CloudFormation, seen by a client: previews, logs, failures and ways out of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.fakeaws.control import Fake
from tests.fakeaws.stack_events import Clockwork, Pause, Steps

Client = Callable[[str], Any]

VERSION = "2012-10-17"
GROUP = {
    "Type": "AWS::EC2::SecurityGroup",
    "Properties": {
        "GroupDescription": "Tasks",
        "SecurityGroupEgress": [
            {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIp": "0.0.0.0/0"}
        ],
    },
}
LOGS = {
    "Type": "AWS::Logs::LogGroup",
    "DependsOn": "Group",
    "Properties": {"RetentionInDays": {"Ref": "Days"}},
}
ROLE = {
    "Type": "AWS::IAM::Role",
    "Properties": {
        "AssumeRolePolicyDocument": {
            "Version": VERSION,
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                }
            ],
        },
        "Policies": [
            {"PolicyName": "logs", "PolicyDocument": {"Version": VERSION, "Statement": [
                {"Effect": "Allow", "Action": "logs:*", "Resource": {"Fn::GetAtt": ["Logs", "Arn"]}}
            ]}}
        ],
    },
}  # fmt: skip
OUTPUTS = {
    "GroupId": {"Value": {"Ref": "Group"}, "Export": {"Name": "shared-group"}},
    "RoleArn": {"Value": {"Fn::GetAtt": ["Role", "Arn"]}, "Description": "the role"},
}
RESOURCES = {"Group": GROUP, "Logs": LOGS, "Role": ROLE}


def template(resources: dict[str, Any] = RESOURCES, outputs: dict[str, Any] = OUTPUTS) -> str:
    days = {"Type": "Number", "Default": 30}
    return json.dumps({"Parameters": {"Days": days}, "Resources": resources, "Outputs": outputs})


class Stack:
    """One stack, called "echo-infra", as a client works with it."""

    name = "echo-infra"

    def __init__(self, client: Client) -> None:
        self.client = client
        self.cfn = client("cloudformation")
        self.made = 0
        self.id = ""

    def propose(self, kind: str, body: str, days: int | None = None, **more: Any) -> dict[str, Any]:
        self.made += 1
        given = [{"ParameterKey": "Days", "ParameterValue": str(days)}] if days else []
        found = self.cfn.create_change_set(
            StackName=self.name, ChangeSetName=f"set-{self.made}", ChangeSetType=kind,
            TemplateBody=body, Parameters=given, Capabilities=["CAPABILITY_IAM"],
            Tags=[{"Key": "meshui:mesh", "Value": "echo"}], **more,
        )  # fmt: skip
        self.id = found["StackId"]
        described: dict[str, Any] = self.cfn.describe_change_set(ChangeSetName=found["Id"])
        return described

    def execute(self, change_set: dict[str, Any], token: str = "token") -> None:
        self.cfn.execute_change_set(
            ChangeSetName=change_set["ChangeSetId"], ClientRequestToken=token
        )

    def apply(self, kind: str, body: str, days: int | None = None, **more: Any) -> str:
        self.execute(self.propose(kind, body, days, **more))
        for event in self.events:  # shown when a test fails
            print(
                event["ResourceStatus"],
                event["LogicalResourceId"],
                event.get("ResourceStatusReason"),
            )
        return self.status

    @property
    def seen(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cfn.describe_stacks(StackName=self.id)["Stacks"][0]
        return found

    @property
    def status(self) -> str:
        return str(self.seen["StackStatus"])

    @property
    def outputs(self) -> dict[str, str]:
        return {one["OutputKey"]: one["OutputValue"] for one in self.seen.get("Outputs", [])}

    @property
    def events(self) -> list[dict[str, Any]]:
        """Oldest first."""
        pages = self.cfn.get_paginator("describe_stack_events").paginate(StackName=self.id)
        return [event for page in pages for event in page["StackEvents"]][::-1]

    def statuses(self, logical: str) -> list[str]:
        return [e["ResourceStatus"] for e in self.events if e["LogicalResourceId"] == logical]

    def wait(self, *wanted: str) -> str:
        until = time.monotonic() + 20
        while (status := self.status) not in wanted:
            assert time.monotonic() < until, f"still {status}"
            time.sleep(0.01)
        return status

    def rules(self) -> list[int]:
        """Ports that the security group lets out."""
        groups = self.client("ec2").describe_security_groups(GroupIds=[self.outputs["GroupId"]])
        return [
            rule.get("FromPort", -1) for rule in groups["SecurityGroups"][0]["IpPermissionsEgress"]
        ]


@pytest.fixture
def stack(client: Client) -> Stack:
    return Stack(client)


def changed(**properties: Any) -> dict[str, Any]:
    """The resources, with other properties of the group."""
    group = {**GROUP, "Properties": {**GROUP["Properties"], **properties}}  # type: ignore[dict-item]
    return {**RESOURCES, "Group": group}


def out(port: int) -> list[dict[str, Any]]:
    return [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "CidrIp": "0.0.0.0/0"}]


def refusal(call: Callable[..., Any], **asked: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**asked)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_change_set_says_what_will_be_made_and_makes_nothing(stack: Stack, aws: Fake):
    seen = stack.propose("CREATE", template())
    rows = [(c["ResourceChange"]["Action"], c["ResourceChange"]["LogicalResourceId"])
            for c in seen["Changes"]]  # fmt: skip
    assert rows == [("Add", "Group"), ("Add", "Logs"), ("Add", "Role")]
    assert (seen["Status"], seen["ExecutionStatus"]) == ("CREATE_COMPLETE", "AVAILABLE")
    assert stack.status == "REVIEW_IN_PROGRESS"
    assert aws.leftovers() == {"stack": ["echo-infra"]}


def test_a_stack_makes_real_resources_with_its_tags(stack: Stack):
    assert stack.apply("CREATE", template(), 7) == "CREATE_COMPLETE"
    (logs,) = stack.client("logs").describe_log_groups()["logGroups"]
    assert logs["retentionInDays"] == 7
    role = stack.outputs["RoleArn"].rsplit("/", 1)[-1]
    tags = stack.client("iam").list_role_tags(RoleName=role)["Tags"]
    assert tags == [{"Key": "meshui:mesh", "Value": "echo"}]
    assert stack.rules() == [443]


def test_outputs_are_exported(stack: Stack):
    stack.apply("CREATE", template())
    (export,) = stack.cfn.list_exports()["Exports"]
    assert (export["Name"], export["Value"]) == ("shared-group", stack.outputs["GroupId"])


def test_every_event_has_its_own_id_and_the_token(stack: Stack):
    stack.execute(stack.propose("CREATE", template()), token="abc")
    ids = [event["EventId"] for event in stack.events]
    assert len(set(ids)) == len(ids)
    assert {e.get("ClientRequestToken") for e in stack.events[1:]} == {"abc"}
    assert stack.statuses("Group") == ["CREATE_IN_PROGRESS"] * 2 + ["CREATE_COMPLETE"]


def test_a_stack_takes_its_time(stack: Stack, aws: Fake):
    aws.speeds(stack=0.15)
    change_set = stack.propose("CREATE", template())
    assert change_set["Status"] == "CREATE_IN_PROGRESS"
    until = time.monotonic() + 10
    while change_set["Status"] == "CREATE_IN_PROGRESS" and time.monotonic() < until:
        change_set = stack.cfn.describe_change_set(ChangeSetName=change_set["ChangeSetId"])
    stack.execute(change_set)
    assert stack.status == "CREATE_IN_PROGRESS"
    assert stack.wait("CREATE_COMPLETE")
    times = [event["Timestamp"].timestamp() for event in stack.events[1:]]
    assert times == sorted(times)
    assert times[-1] - times[0] > 3 * 0.15


def test_work_goes_as_far_as_the_clock():
    done: list[int] = []

    def steps() -> Steps:
        for number in range(4):
            done.append(number)
            yield Pause.STEP

    work = Clockwork(steps(), pace=10, now=100)
    work.advance(99)
    assert done == []
    work.advance(115)
    assert done == [0, 1]
    work.advance(1000)
    assert (done, work.done) == ([0, 1, 2, 3], True)


def test_the_resources_appear_one_after_the_other(stack: Stack, aws: Fake):
    stack.propose("CREATE", template())
    aws.speeds(stack=30)
    stack.cfn.execute_change_set(ChangeSetName="set-1", StackName=stack.name)
    assert stack.status == "CREATE_IN_PROGRESS"
    assert aws.leftovers() == {"stack": ["echo-infra"]}


def test_nothing_to_change_is_said_in_both_ways(stack: Stack):
    stack.apply("CREATE", template())
    seen = stack.propose("UPDATE", template())
    assert (seen["Status"], seen["ExecutionStatus"]) == ("FAILED", "UNAVAILABLE")
    assert "didn't contain changes" in seen["StatusReason"]
    said = refusal(stack.cfn.update_stack, StackName=stack.name, TemplateBody=template(),
                   Capabilities=["CAPABILITY_IAM"])  # fmt: skip
    assert said == ("ValidationError", "No updates are to be performed.")


def test_a_preview_tells_change_from_replacement(stack: Stack):
    stack.apply("CREATE", template())

    def replacement(resources: dict[str, Any]) -> dict[str, str]:
        seen = stack.propose("UPDATE", template(resources))
        rows = [change["ResourceChange"] for change in seen["Changes"]]
        return {r["LogicalResourceId"]: r.get("Replacement", r["Action"]) for r in rows}

    assert replacement(changed(SecurityGroupEgress=out(80))) == {"Group": "False"}
    assert replacement(changed(GroupDescription="Other")) == {"Group": "True"}
    assert replacement({**RESOURCES, "More": GROUP}) == {"More": "Add"}


def test_a_preview_names_the_parameter_that_causes_a_change(stack: Stack):
    stack.apply("CREATE", template(), 7)
    (change,) = stack.propose("UPDATE", template(), 14)["Changes"]
    (detail,) = change["ResourceChange"]["Details"]
    assert (detail["ChangeSource"], detail["CausingEntity"]) == ("ParameterReference", "Days")
    assert detail["Target"]["Name"] == "RetentionInDays"


def test_an_update_changes_in_place(stack: Stack):
    stack.apply("CREATE", template())
    group = stack.outputs["GroupId"]
    assert (
        stack.apply("UPDATE", template(changed(SecurityGroupEgress=out(80)))) == "UPDATE_COMPLETE"
    )
    assert stack.outputs["GroupId"] == group
    assert stack.rules() == [80]


def test_a_replaced_resource_is_made_anew_and_the_old_one_goes(stack: Stack):
    stack.apply("CREATE", template())
    old = stack.outputs["GroupId"]
    stack.apply("UPDATE", template(changed(GroupDescription="Other")))
    assert stack.outputs["GroupId"] != old
    groups = stack.client("ec2").describe_security_groups()["SecurityGroups"]
    assert old not in [group["GroupId"] for group in groups]
    assert stack.statuses("Group")[-2:] == ["DELETE_IN_PROGRESS", "DELETE_COMPLETE"]


def test_a_removed_resource_goes_and_a_retained_one_stays(stack: Stack, aws: Fake):
    kept = {**LOGS, "DeletionPolicy": "Retain"}
    stack.apply("CREATE", template({**RESOURCES, "Logs": kept}))
    only = {"GroupId": OUTPUTS["GroupId"]}
    seen = stack.propose("UPDATE", template({"Group": GROUP}, only))
    actions = [change["ResourceChange"]["Action"] for change in seen["Changes"]]
    assert actions == ["Remove", "Remove"]
    stack.execute(seen)
    left = aws.leftovers()
    assert "role" not in left
    assert len(left["log-group"]) == 1
    assert stack.statuses("Logs")[-1] == "DELETE_SKIPPED"


def test_a_failed_creation_is_rolled_back_and_names_the_first_failure(stack: Stack, aws: Fake):
    aws.fail_resource("Logs", "Log group quota reached")
    assert stack.apply("CREATE", template({**RESOURCES, "Twin": {**LOGS}})) == "ROLLBACK_COMPLETE"
    failed = [e for e in stack.events if e["ResourceStatus"] == "CREATE_FAILED"]
    assert [(e["LogicalResourceId"], e["ResourceStatusReason"]) for e in failed] == [
        ("Logs", "Log group quota reached"),
        ("Twin", "Resource creation cancelled"),
    ]
    assert aws.leftovers() == {"stack": ["echo-infra"]}
    code, said = refusal(stack.propose, kind="UPDATE", body=template())
    assert code == "ValidationError"
    assert "ROLLBACK_COMPLETE state and can not be updated" in said


def test_a_half_made_resource_is_removed_too(stack: Stack, aws: Fake):
    wrong = changed(SecurityGroupEgress=[{**out(80)[0], "CidrIp": "no address"}])
    assert stack.apply("CREATE", template(wrong)) == "ROLLBACK_COMPLETE"
    assert aws.leftovers() == {"stack": ["echo-infra"]}


def test_a_failed_update_goes_back(stack: Stack, aws: Fake):
    stack.apply("CREATE", template())
    aws.fail_resource("Logs", "no")
    resources = changed(SecurityGroupEgress=out(80))
    assert stack.apply("UPDATE", template(resources), 7) == "UPDATE_ROLLBACK_COMPLETE"
    assert stack.rules() == [443]
    assert stack.statuses("Logs")[-1] == "UPDATE_COMPLETE"


def test_what_a_failed_update_made_is_removed(stack: Stack, aws: Fake):
    stack.apply("CREATE", template())
    before = aws.leftovers()
    aws.fail_resource("Late", "no")
    more = {"More": GROUP, "Late": {**GROUP, "DependsOn": "More"}}
    assert stack.apply("UPDATE", template({**RESOURCES, **more})) == "UPDATE_ROLLBACK_COMPLETE"
    assert aws.leftovers() == before


def test_a_failed_rollback_can_be_continued(stack: Stack, aws: Fake):
    stack.apply("CREATE", template())
    aws.fail_resource("Logs", "no")
    aws.fail_resource("Group:undo", "not now")
    resources = changed(SecurityGroupEgress=out(80))
    assert stack.apply("UPDATE", template(resources), 7) == "UPDATE_ROLLBACK_FAILED"
    aws.clear()
    for _ in range(2):  # the second time is harmless
        stack.cfn.continue_update_rollback(StackName=stack.name, ClientRequestToken="again")
    assert stack.status == "UPDATE_ROLLBACK_COMPLETE"
    assert stack.rules() == [443]


def test_a_resource_can_be_skipped_in_a_rollback(stack: Stack, aws: Fake):
    stack.apply("CREATE", template())
    aws.fail_resource("Logs", "no")
    aws.fail_resource("Group:undo", "never")
    stack.apply("UPDATE", template(changed(SecurityGroupEgress=out(80))), 7)
    stack.cfn.continue_update_rollback(StackName=stack.name, ResourcesToSkip=["Group"])
    assert stack.status == "UPDATE_ROLLBACK_COMPLETE"
    assert stack.rules() == [80]


def test_a_failure_can_be_left_as_it_is_and_rolled_back_later(stack: Stack, aws: Fake):
    aws.fail_resource("Role", "no")
    seen = stack.propose("CREATE", template(), OnStackFailure="DO_NOTHING")
    stack.execute(seen)
    assert stack.status == "CREATE_FAILED"
    assert "log-group" in aws.leftovers()
    stack.cfn.rollback_stack(StackName=stack.name)
    assert stack.status == "ROLLBACK_COMPLETE"
    assert aws.leftovers() == {"stack": ["echo-infra"]}


def test_an_update_can_be_cancelled(stack: Stack, aws: Fake):
    stack.apply("CREATE", template())
    seen = stack.propose("UPDATE", template(changed(SecurityGroupEgress=out(80))), 7)
    aws.speeds(stack=0.1)
    stack.execute(seen)
    stack.cfn.cancel_update_stack(StackName=stack.name)
    assert stack.wait("UPDATE_ROLLBACK_COMPLETE", "UPDATE_COMPLETE") == "UPDATE_ROLLBACK_COMPLETE"
    assert stack.rules() == [443]


def test_a_deleted_stack_leaves_nothing_but_its_log(stack: Stack, aws: Fake):
    stack.apply("CREATE", template())
    stack.cfn.delete_stack(StackName=stack.name, ClientRequestToken="gone")
    assert aws.leftovers() == {}
    assert stack.status == "DELETE_COMPLETE"
    assert stack.events[-1]["ClientRequestToken"] == "gone"
    code, said = refusal(stack.cfn.describe_stacks, StackName=stack.name)
    assert (code, said) == ("ValidationError", "Stack with id echo-infra does not exist")
    order = [e["LogicalResourceId"] for e in stack.events
             if e["ResourceStatus"] == "DELETE_COMPLETE"]  # fmt: skip
    assert order == ["Role", "Logs", "Group", "echo-infra"]


def test_what_cannot_be_deleted_can_be_retained(stack: Stack, aws: Fake):
    stack.apply("CREATE", template())
    aws.fail_resource("Group:delete", "has a dependent object")
    stack.cfn.delete_stack(StackName=stack.name)
    assert stack.status == "DELETE_FAILED"
    survivors = [
        one["LogicalResourceId"]
        for one in stack.cfn.describe_stack_resources(StackName=stack.id)["StackResources"]
        if one["ResourceStatus"] == "DELETE_FAILED"
    ]
    assert survivors == ["Group"]
    stack.cfn.delete_stack(StackName=stack.name, RetainResources=["Group"])
    assert stack.status == "DELETE_COMPLETE"
    groups = stack.client("ec2").describe_security_groups()["SecurityGroups"]
    assert "Tasks" in [group["Description"] for group in groups]


def test_a_protected_stack_is_not_deleted(stack: Stack):
    stack.apply("CREATE", template())
    protect = stack.cfn.update_termination_protection
    protect(StackName=stack.name, EnableTerminationProtection=True)
    _code, said = refusal(stack.cfn.delete_stack, StackName=stack.name)
    assert "TerminationProtection is enabled" in said
    protect(StackName=stack.name, EnableTerminationProtection=False)
    stack.cfn.delete_stack(StackName=stack.name)
    assert stack.status == "DELETE_COMPLETE"


def test_drift_shows_what_was_changed_and_what_is_gone(stack: Stack):
    stack.apply("CREATE", template())
    drifts = stack.cfn.describe_stack_resource_drifts

    def detect() -> tuple[str, dict[str, str]]:
        found = stack.cfn.detect_stack_drift(StackName=stack.name)["StackDriftDetectionId"]
        seen = stack.cfn.describe_stack_drift_detection_status(StackDriftDetectionId=found)
        assert seen["DetectionStatus"] == "DETECTION_COMPLETE"
        rows = drifts(StackName=stack.name)["StackResourceDrifts"]
        states = {r["LogicalResourceId"]: r["StackResourceDriftStatus"] for r in rows}
        return seen["StackDriftStatus"], states

    assert detect() == ("IN_SYNC", dict.fromkeys(("Group", "Logs", "Role"), "IN_SYNC"))
    stack.client("ec2").authorize_security_group_egress(
        GroupId=stack.outputs["GroupId"],
        IpPermissions=[
            {
                "IpProtocol": "tcp",
                "FromPort": 22,
                "ToPort": 22,
                "IpRanges": [{"CidrIp": "10.0.0.0/8"}],
            }
        ],
    )
    (logs,) = stack.client("logs").describe_log_groups()["logGroups"]
    stack.client("logs").delete_log_group(logGroupName=logs["logGroupName"])
    assert detect() == ("DRIFTED", {"Group": "MODIFIED", "Logs": "DELETED", "Role": "IN_SYNC"})
    (group,) = drifts(StackName=stack.name, StackResourceDriftStatusFilters=["MODIFIED"])[
        "StackResourceDrifts"
    ]
    (difference,) = group["PropertyDifferences"]
    assert (difference["DifferenceType"], difference["ActualValue"]) == (
        "ADD",
        "tcp 22-22 10.0.0.0/8",
    )


def test_a_change_set_can_be_thrown_away(stack: Stack):
    seen = stack.propose("CREATE", template())
    stack.cfn.delete_change_set(ChangeSetName=seen["ChangeSetId"])
    code, _said = refusal(stack.cfn.describe_change_set, ChangeSetName=seen["ChangeSetId"])
    assert code == "ChangeSetNotFound"
    assert stack.status == "REVIEW_IN_PROGRESS"
    stack.cfn.delete_stack(StackName=stack.name)
    assert stack.status == "DELETE_COMPLETE"


def test_executing_twice_with_the_same_token_is_harmless(stack: Stack):
    seen = stack.propose("CREATE", template())
    stack.execute(seen, "abc")
    stack.execute(seen, "abc")
    code, _said = refusal(stack.execute, change_set=seen, token="other")
    assert code == "InvalidChangeSetStatus"
    assert stack.status == "CREATE_COMPLETE"


def test_proposing_twice_with_the_same_token_gives_the_same_change_set(stack: Stack):
    seen = stack.propose("CREATE", template(), ClientToken="abc")
    asked = {
        "StackName": stack.name,
        "ChangeSetName": "set-1",
        "ChangeSetType": "CREATE",
        "TemplateBody": template(),
        "Capabilities": ["CAPABILITY_IAM"],
    }
    again = stack.cfn.create_change_set(**asked, ClientToken="abc")
    assert (again["Id"], again["StackId"]) == (seen["ChangeSetId"], stack.id)
    code, _said = refusal(stack.cfn.create_change_set, **asked, ClientToken="other")
    assert code == "AlreadyExistsException"


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"A": {"Type": "AWS::EC2::Nothing"}}, "Unrecognized resource types"),
        ({"A": {**GROUP, "DependsOn": "B"}, "B": {**GROUP, "DependsOn": "A"}}, "Circular"),
        (changed(VpcId={"Ref": "Nobody"}), "Unresolved resource dependencies [Nobody]"),
        (
            {"A": GROUP, **changed(VpcId={"Fn::GetAtt": ["A", "Colour"]})},
            "does not support attribute type",
        ),
    ],
)
def test_a_template_that_cannot_work_is_refused(stack: Stack, resources: dict[str, Any], said: str):
    code, message = refusal(stack.propose, kind="CREATE", body=template(resources, {}))
    assert code == "ValidationError"
    assert said in message


def test_roles_need_to_be_acknowledged(stack: Stack):
    code, _said = refusal(
        stack.cfn.create_change_set, StackName=stack.name, ChangeSetName="a",
        ChangeSetType="CREATE", TemplateBody=template(),
    )  # fmt: skip
    assert code == "InsufficientCapabilitiesException"


def test_a_kind_that_the_fake_cannot_make_fails_the_stack(stack: Stack):
    body = template({"Topic": {"Type": "AWS::SNS::Topic"}}, {})
    assert stack.apply("CREATE", body) == "ROLLBACK_COMPLETE"
    (failed,) = [e for e in stack.events if e["ResourceStatus"] == "CREATE_FAILED"]
    assert failed["ResourceStatusReason"] == "This fake cannot make AWS::SNS::Topic"


def test_the_log_of_a_long_life_is_paged(stack: Stack):
    stack.apply("CREATE", template())
    for port in range(1000, 1020):
        stack.apply("UPDATE", template(changed(SecurityGroupEgress=out(port))))
    first = stack.cfn.describe_stack_events(StackName=stack.id)
    assert len(first["StackEvents"]) == 100
    assert len(stack.events) == len({event["EventId"] for event in stack.events}) > 100
