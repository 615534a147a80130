"""Puts the fake CloudFormation in the place of moto's: requests in, answers out.

``install()`` is called by the server before it starts. Stacks live on moto's backend objects, so
that moto's reset forgets them. What happens to stacks is decided in cloudformation_api.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from moto.cloudformation.models import CloudFormationBackend, cloudformation_backends
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import ActionResult, EmptyResult

from tests.fakeaws import world
from tests.fakeaws.cloudformation_api import (
    Account,
    checked_wish,
    error,
    invalid,
    needed_capabilities,
)
from tests.fakeaws.cloudformation_stack import Resource, Stack, Wish
from tests.fakeaws.cloudformation_template import TemplateWrong, parse
from tests.fakeaws.drift import detect, detect_resource
from tests.fakeaws.stack_events import moment

Verb = Callable[["_Request"], Any]
_VERBS: dict[str, Verb] = {}


def account_of(backend: CloudFormationBackend) -> Account:
    """The stacks of a moto backend."""
    found = backend.__dict__.get("meshui_account")
    if found is None:
        found = Account(backend.account_id, backend.region_name)
        backend.__dict__["meshui_account"] = found
    assert isinstance(found, Account)
    return found


def _stacks(backend: CloudFormationBackend) -> dict[str, Stack]:
    """By name, those that are not deleted: for those who read moto's backend."""
    stacks = account_of(backend).stacks
    return {stack.name: stack for stack in stacks if stack.status != "DELETE_COMPLETE"}


def accounts() -> list[Account]:
    """Every account and region that was ever asked for a stack."""
    return [
        account_of(backend)
        for regions in cloudformation_backends.values()
        for backend in regions.values()
    ]


def _advance(_now: float) -> None:
    """Bring every stack up to the clock, so that whoever asks any service sees its resources."""
    for account in accounts():
        account.advance()


def living_stacks() -> list[Stack]:
    """Every stack that is not deleted, with its work brought up to the clock."""
    with world.LOCK:
        _advance(0)
        return [s for a in accounts() for s in a.stacks if s.status != "DELETE_COMPLETE"]


class _Request:
    """What a caller asks, with the account it asks."""

    def __init__(self, response: CloudFormationResponse) -> None:
        self._response = response
        self.account = account_of(response.cloudformation_backend)

    def get(self, name: str, default: Any = None) -> Any:
        """A parameter of the call."""
        return self._response._get_param(name, default)

    def flag(self, name: str) -> bool:
        """A parameter that is true or false."""
        return bool(self._response._get_bool_param(name, False))

    @property
    def stack(self) -> Stack:
        """The stack that the call names."""
        return self.account.find(self.get("StackName"))

    def wish(self, was: Stack | None) -> Wish:
        """The template, parameters and tags that the call asks for."""
        body = self.get("TemplateBody")
        if body is None and self.get("TemplateURL"):
            body = self._response._get_stack_from_s3_url(self.get("TemplateURL"))
        if body is None and self.flag("UsePreviousTemplate") and was is not None:
            body = was.wish.body
        if body is None:
            raise invalid("Either Template URL or Template Body must be specified.")
        given = {}
        for one in self.get("Parameters", []):
            name = one["ParameterKey"]
            previous = str(one.get("UsePreviousValue", False)).lower() == "true"
            if previous and was is not None:
                if name in was.wish.values:
                    given[name] = was.wish.values[name]
            else:
                given[name] = str(one.get("ParameterValue", ""))
        tags = {tag["Key"]: tag["Value"] for tag in self.get("Tags", [])}
        if was is not None and not tags:
            tags = dict(was.tags)
        return checked_wish(body, given, tags)

    def mode(self) -> str:
        """What to do when the work fails."""
        nothing = self.flag("DisableRollback")
        return (
            "DO_NOTHING"
            if nothing
            else self.get("OnStackFailure", self.get("OnFailure", "ROLLBACK"))
        )


def _verb(function: Verb) -> Verb:
    _VERBS[function.__name__] = function
    return function


def _method(verb: Verb) -> Callable[[CloudFormationResponse], ActionResult]:
    @functools.wraps(verb)
    def method(response: CloudFormationResponse) -> ActionResult:
        with world.LOCK:
            request = _Request(response)
            request.account.advance()
            answer = verb(request)
        return EmptyResult() if answer is None else ActionResult(answer)

    return method


def install() -> None:
    """Replace moto's CloudFormation. Harmless when repeated."""
    world.on_tick(_advance)
    CloudFormationBackend.stacks = property(_stacks, lambda self, value: None)  # type: ignore[assignment]
    shaped = CloudFormationResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER
    for path in [path for path in shaped if "StackSet" not in path]:
        del shaped[path]  # moto's own objects need it, our answers have the API's shape
    for name, verb in _VERBS.items():
        setattr(CloudFormationResponse, name, _method(verb))


# --- change sets


@_verb
def create_change_set(request: _Request) -> dict[str, Any]:
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


@_verb
def describe_change_set(request: _Request) -> dict[str, Any]:
    found = request.account.change_set(request.get("ChangeSetName"), request.get("StackName"))
    return found.answer()


@_verb
def list_change_sets(request: _Request) -> dict[str, Any]:
    stack = request.stack
    return {"Summaries": [c.summary() for c in request.account.change_sets if c.stack is stack]}


@_verb
def delete_change_set(request: _Request) -> dict[str, Any]:
    account = request.account
    found = account.change_set(request.get("ChangeSetName"), request.get("StackName"))
    if found.status == "CREATE_IN_PROGRESS" or found.execution_status == "EXECUTE_IN_PROGRESS":
        raise error(
            "InvalidChangeSetStatusException",
            f"ChangeSet [{found.arn}] cannot be deleted in its current status",
        )
    account.change_sets.remove(found)
    return {}


@_verb
def execute_change_set(request: _Request) -> dict[str, Any]:
    account = request.account
    found = account.change_set(request.get("ChangeSetName"), request.get("StackName"))
    account.execute(
        found, request.get("ClientRequestToken"), disable_rollback=request.flag("DisableRollback")
    )
    return {}


# --- stacks


@_verb
def create_stack(request: _Request) -> dict[str, Any]:
    stack = request.account.create(
        request.get("StackName"),
        request.wish(None),
        request.mode(),
        request.get("ClientRequestToken"),
        request.get("Capabilities", []),
    )
    stack.protected = request.flag("EnableTerminationProtection")
    return {"StackId": stack.stack_id}


@_verb
def update_stack(request: _Request) -> dict[str, Any]:
    stack = request.stack
    request.account.update(
        stack,
        request.wish(stack),
        request.mode(),
        request.get("ClientRequestToken"),
        request.get("Capabilities", []),
    )
    return {"StackId": stack.stack_id}


@_verb
def delete_stack(request: _Request) -> None:
    request.account.delete(
        request.get("StackName"),
        request.get("RetainResources", []),
        request.get("ClientRequestToken"),
    )


@_verb
def continue_update_rollback(request: _Request) -> dict[str, Any]:
    request.account.go_on_rolling_back(
        request.stack, request.get("ResourcesToSkip", []), request.get("ClientRequestToken")
    )
    return {}


@_verb
def rollback_stack(request: _Request) -> dict[str, Any]:
    stack = request.stack
    request.account.roll_back(stack, request.get("ClientRequestToken"))
    return {"StackId": stack.stack_id}


@_verb
def cancel_update_stack(request: _Request) -> None:
    request.account.cancel(request.stack)


@_verb
def update_termination_protection(request: _Request) -> dict[str, Any]:
    stack = request.stack
    stack.protected = request.flag("EnableTerminationProtection")
    return {"StackId": stack.stack_id}


# --- looking


def _described(stack: Stack) -> dict[str, Any]:
    return {
        "StackId": stack.stack_id,
        "StackName": stack.name,
        "Description": stack.wish.parsed.get("Description"),
        "Parameters": [
            {"ParameterKey": key, "ParameterValue": value}
            for key, value in stack.wish.values.items()
        ],
        "CreationTime": moment(stack.created),
        "LastUpdatedTime": moment(stack.updated) if stack.updated else None,
        "DeletionTime": moment(stack.deleted) if stack.deleted else None,
        "StackStatus": stack.status,
        "StackStatusReason": stack.reason,
        "DisableRollback": stack.disable_rollback,
        "EnableTerminationProtection": stack.protected,
        "Outputs": [
            {
                "OutputKey": output.key,
                "OutputValue": output.value,
                "Description": output.description,
                "ExportName": output.export,
            }
            for output in stack.outputs
        ],
        "Tags": [{"Key": key, "Value": value} for key, value in stack.tags.items()],
        "DriftInformation": _drift(stack),
    }


def _drift(stack: Stack) -> dict[str, Any]:
    at = moment(stack.drift_at) if stack.drift_at else None
    return {"StackDriftStatus": stack.drift_status, "LastCheckTimestamp": at}


@_verb
def describe_stacks(request: _Request) -> dict[str, Any]:
    name = request.get("StackName")
    if name:
        return {"Stacks": [_described(request.account.find(name))]}
    living = [s for s in request.account.stacks if s.status != "DELETE_COMPLETE"]
    return {"Stacks": [_described(stack) for stack in reversed(living)]}


@_verb
def list_stacks(request: _Request) -> dict[str, Any]:
    wanted = request.get("StackStatusFilter", [])
    return {
        "StackSummaries": [
            {
                "StackId": stack.stack_id,
                "StackName": stack.name,
                "CreationTime": moment(stack.created),
                "DeletionTime": moment(stack.deleted) if stack.deleted else None,
                "StackStatus": stack.status,
                "StackStatusReason": stack.reason,
                "DriftInformation": _drift(stack),
            }
            for stack in reversed(request.account.stacks)
            if not wanted or stack.status in wanted
        ]
    }


@_verb
def describe_stack_events(request: _Request) -> dict[str, Any]:
    page, token = request.stack.log.page(request.get("NextToken"))
    return {"StackEvents": [event.answer() for event in page], "NextToken": token}


def _resource(stack: Stack, resource: Resource) -> dict[str, Any]:
    status = (resource.drift or {}).get("StackResourceDriftStatus", "NOT_CHECKED")
    return {
        "StackName": stack.name,
        "StackId": stack.stack_id,
        "LogicalResourceId": resource.logical,
        "PhysicalResourceId": resource.physical or None,
        "ResourceType": resource.type,
        "Timestamp": moment(resource.at),
        "LastUpdatedTimestamp": moment(resource.at),
        "ResourceStatus": resource.status,
        "ResourceStatusReason": resource.reason,
        "DriftInformation": {"StackResourceDriftStatus": status},
    }


@_verb
def describe_stack_resources(request: _Request) -> dict[str, Any]:
    stack, wanted = request.stack, request.get("LogicalResourceId")
    return {
        "StackResources": [
            _resource(stack, one) for name, one in stack.resources.items() if wanted in (None, name)
        ]
    }


@_verb
def list_stack_resources(request: _Request) -> dict[str, Any]:
    stack = request.stack
    return {"StackResourceSummaries": [_resource(stack, one) for one in stack.resources.values()]}


def _one_resource(request: _Request) -> Resource:
    name, stack = request.get("LogicalResourceId"), request.stack
    if name not in stack.resources:
        raise invalid(f"Resource {name} does not exist for stack {stack.name}")
    return stack.resources[name]


@_verb
def describe_stack_resource(request: _Request) -> dict[str, Any]:
    return {"StackResourceDetail": _resource(request.stack, _one_resource(request))}


@_verb
def get_template(request: _Request) -> dict[str, Any]:
    if request.get("ChangeSetName"):
        name, stack = request.get("ChangeSetName"), request.get("StackName")
        body = request.account.change_set(name, stack).wish.body
    else:
        body = request.stack.wish.body
    return {"TemplateBody": body, "StagesAvailable": ["Original", "Processed"]}


def _parsed(request: _Request) -> dict[str, Any]:
    try:
        body = request.get("TemplateBody")
        return parse(body if body is not None else request.stack.wish.body)
    except TemplateWrong as wrong:
        raise invalid(str(wrong)) from wrong


def _slots(parsed: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "ParameterKey": name,
            "DefaultValue": str(slot["Default"]) if "Default" in slot else None,
            "ParameterType": slot["Type"],
            "NoEcho": bool(slot.get("NoEcho", False)),
            "Description": slot.get("Description"),
        }
        for name, slot in (parsed.get("Parameters") or {}).items()
    ]


@_verb
def validate_template(request: _Request) -> dict[str, Any]:
    parsed = _parsed(request)
    return {
        "Parameters": _slots(parsed),
        "Description": parsed.get("Description"),
        "Capabilities": needed_capabilities(parsed),
    }


@_verb
def get_template_summary(request: _Request) -> dict[str, Any]:
    parsed = _parsed(request)
    kinds = sorted({one["Type"] for one in parsed["Resources"].values()})
    return {
        "Parameters": _slots(parsed),
        "Description": parsed.get("Description"),
        "Capabilities": needed_capabilities(parsed),
        "ResourceTypes": kinds,
        "Version": parsed.get("AWSTemplateFormatVersion"),
    }


@_verb
def list_exports(request: _Request) -> dict[str, Any]:
    return {
        "Exports": [
            {"ExportingStackId": stack.stack_id, "Name": output.export, "Value": output.value}
            for stack in request.account.stacks
            for output in stack.outputs
            if output.export is not None
        ]
    }


# --- drift


@_verb
def detect_stack_drift(request: _Request) -> dict[str, Any]:
    stack = request.stack
    if stack.busy:
        raise invalid(f"Drift detection cannot run while stack {stack.name} is {stack.status}")
    detection = detect(stack)
    request.account.detections[detection.id] = detection
    return {"StackDriftDetectionId": detection.id}


@_verb
def describe_stack_drift_detection_status(request: _Request) -> dict[str, Any]:
    wanted = request.get("StackDriftDetectionId")
    found = request.account.detections.get(wanted)
    if found is None:
        raise invalid(f"Drift detection {wanted} does not exist")
    return found.answer()


@_verb
def describe_stack_resource_drifts(request: _Request) -> dict[str, Any]:
    wanted = request.get("StackResourceDriftStatusFilters", [])
    found = [one.drift for one in request.stack.resources.values() if one.drift is not None]
    chosen = [one for one in found if not wanted or one["StackResourceDriftStatus"] in wanted]
    return {"StackResourceDrifts": chosen}


@_verb
def detect_stack_resource_drift(request: _Request) -> dict[str, Any]:
    return {"StackResourceDrift": detect_resource(request.stack, _one_resource(request))}
