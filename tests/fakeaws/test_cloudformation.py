"""Stacks of the fake AWS: previews, what they make and change, drift."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.fakeaws.control import Fake
from tests.fakeaws.stack_events import Clockwork, Pause, Steps
from tests.fakeaws.stack_lab import (
    GROUP,
    LOGS,
    OUTPUTS,
    RESOURCES,
    Stack,
    changed,
    out,
    refusal,
    stack,
    template,
)

__all__ = ["stack"]


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
