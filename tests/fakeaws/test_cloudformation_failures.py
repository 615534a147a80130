"""Stacks of the fake AWS that fail, go back, or cannot be deleted."""

from __future__ import annotations

from tests.fakeaws.control import Fake
from tests.fakeaws.stack_lab import (
    GROUP,
    LOGS,
    RESOURCES,
    Stack,
    changed,
    out,
    refusal,
    stack,
    template,
)

__all__ = ["stack"]


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
