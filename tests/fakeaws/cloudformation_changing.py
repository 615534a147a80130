"""Answers to the calls that change stacks, change sets included.

Registered by being imported. What happens is decided in cloudformation_api.
"""

from __future__ import annotations

from typing import Any

from tests.fakeaws.cloudformation_api import (
    error,
    invalid,
)
from tests.fakeaws.cloudformation_request import Request, verb


@verb
def create_change_set(request: Request) -> dict[str, Any]:
    kind, name = request.get("ChangeSetType", "UPDATE"), request.get("StackName")
    was = request.account.named(name) if kind == "UPDATE" else None
    if kind == "UPDATE" and was is None:
        raise invalid(f"Stack [{name}] does not exist")
    change_set = request.account.make_change_set(
        request.get("ChangeSetName"),
        name,
        kind,
        request.wish(was),
        description=request.get("Description"),
        on_failure=request.mode(),
        capabilities=request.get("Capabilities", []),
        client_token=request.get("ClientToken"),
    )
    return {"Id": change_set.arn, "StackId": change_set.stack.stack_id}


@verb
def describe_change_set(request: Request) -> dict[str, Any]:
    found = request.account.change_set(request.get("ChangeSetName"), request.get("StackName"))
    return found.answer()


@verb
def list_change_sets(request: Request) -> dict[str, Any]:
    stack = request.stack
    return {"Summaries": [c.summary() for c in request.account.change_sets if c.stack is stack]}


@verb
def delete_change_set(request: Request) -> dict[str, Any]:
    account = request.account
    found = account.change_set(request.get("ChangeSetName"), request.get("StackName"))
    if found.status == "CREATE_IN_PROGRESS" or found.execution_status == "EXECUTE_IN_PROGRESS":
        raise error(
            "InvalidChangeSetStatusException",
            f"ChangeSet [{found.arn}] cannot be deleted in its current status",
        )
    account.change_sets.remove(found)
    return {}


@verb
def execute_change_set(request: Request) -> dict[str, Any]:
    account = request.account
    found = account.change_set(request.get("ChangeSetName"), request.get("StackName"))
    account.execute(
        found, request.get("ClientRequestToken"), disable_rollback=request.flag("DisableRollback")
    )
    return {}


@verb
def create_stack(request: Request) -> dict[str, Any]:
    stack = request.account.create(
        request.get("StackName"),
        request.wish(None),
        request.mode(),
        request.get("ClientRequestToken"),
        request.get("Capabilities", []),
    )
    stack.protected = request.flag("EnableTerminationProtection")
    return {"StackId": stack.stack_id}


@verb
def update_stack(request: Request) -> dict[str, Any]:
    stack = request.stack
    request.account.update(
        stack,
        request.wish(stack),
        request.mode(),
        request.get("ClientRequestToken"),
        request.get("Capabilities", []),
    )
    return {"StackId": stack.stack_id}


@verb
def delete_stack(request: Request) -> None:
    request.account.delete(
        request.get("StackName"),
        request.get("RetainResources", []),
        request.get("ClientRequestToken"),
    )


@verb
def continue_update_rollback(request: Request) -> dict[str, Any]:
    request.account.go_on_rolling_back(
        request.stack, request.get("ResourcesToSkip", []), request.get("ClientRequestToken")
    )
    return {}


@verb
def rollback_stack(request: Request) -> dict[str, Any]:
    stack = request.stack
    request.account.roll_back(stack, request.get("ClientRequestToken"))
    return {"StackId": stack.stack_id}


@verb
def cancel_update_stack(request: Request) -> None:
    request.account.cancel(request.stack)


@verb
def update_termination_protection(request: Request) -> dict[str, Any]:
    stack = request.stack
    stack.protected = request.flag("EnableTerminationProtection")
    return {"StackId": stack.stack_id}
