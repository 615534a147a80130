"""Answers to the calls that look at stacks: descriptions, events, templates, exports, drift.

Registered by being imported.
"""

from __future__ import annotations

from typing import Any

from tests.fakeaws.cloudformation_api import (
    invalid,
    needed_capabilities,
)
from tests.fakeaws.cloudformation_request import Request, verb
from tests.fakeaws.cloudformation_stack import Resource, Stack
from tests.fakeaws.cloudformation_template import TemplateWrong, parse
from tests.fakeaws.drift import detect, detect_resource
from tests.fakeaws.stack_events import moment


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


@verb
def describe_stacks(request: Request) -> dict[str, Any]:
    name = request.get("StackName")
    if name:
        return {"Stacks": [_described(request.account.find(name))]}
    living = [s for s in request.account.stacks if s.status != "DELETE_COMPLETE"]
    return {"Stacks": [_described(stack) for stack in reversed(living)]}


@verb
def list_stacks(request: Request) -> dict[str, Any]:
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


@verb
def describe_stack_events(request: Request) -> dict[str, Any]:
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


@verb
def describe_stack_resources(request: Request) -> dict[str, Any]:
    stack, wanted = request.stack, request.get("LogicalResourceId")
    return {
        "StackResources": [
            _resource(stack, one) for name, one in stack.resources.items() if wanted in (None, name)
        ]
    }


@verb
def list_stack_resources(request: Request) -> dict[str, Any]:
    stack = request.stack
    return {"StackResourceSummaries": [_resource(stack, one) for one in stack.resources.values()]}


def _one_resource(request: Request) -> Resource:
    name, stack = request.get("LogicalResourceId"), request.stack
    if name not in stack.resources:
        raise invalid(f"Resource {name} does not exist for stack {stack.name}")
    return stack.resources[name]


@verb
def describe_stack_resource(request: Request) -> dict[str, Any]:
    return {"StackResourceDetail": _resource(request.stack, _one_resource(request))}


@verb
def get_template(request: Request) -> dict[str, Any]:
    if request.get("ChangeSetName"):
        name, stack = request.get("ChangeSetName"), request.get("StackName")
        body = request.account.change_set(name, stack).wish.body
    else:
        body = request.stack.wish.body
    return {"TemplateBody": body, "StagesAvailable": ["Original", "Processed"]}


def _parsed(request: Request) -> dict[str, Any]:
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


@verb
def validate_template(request: Request) -> dict[str, Any]:
    parsed = _parsed(request)
    return {
        "Parameters": _slots(parsed),
        "Description": parsed.get("Description"),
        "Capabilities": needed_capabilities(parsed),
    }


@verb
def get_template_summary(request: Request) -> dict[str, Any]:
    parsed = _parsed(request)
    kinds = sorted({one["Type"] for one in parsed["Resources"].values()})
    return {
        "Parameters": _slots(parsed),
        "Description": parsed.get("Description"),
        "Capabilities": needed_capabilities(parsed),
        "ResourceTypes": kinds,
        "Version": parsed.get("AWSTemplateFormatVersion"),
    }


@verb
def list_exports(request: Request) -> dict[str, Any]:
    return {
        "Exports": [
            {"ExportingStackId": stack.stack_id, "Name": output.export, "Value": output.value}
            for stack in request.account.stacks
            for output in stack.outputs
            if output.export is not None
        ]
    }


@verb
def detect_stack_drift(request: Request) -> dict[str, Any]:
    stack = request.stack
    if stack.busy:
        raise invalid(f"Drift detection cannot run while stack {stack.name} is {stack.status}")
    detection = detect(stack)
    request.account.detections[detection.id] = detection
    return {"StackDriftDetectionId": detection.id}


@verb
def describe_stack_drift_detection_status(request: Request) -> dict[str, Any]:
    wanted = request.get("StackDriftDetectionId")
    found = request.account.detections.get(wanted)
    if found is None:
        raise invalid(f"Drift detection {wanted} does not exist")
    return found.answer()


@verb
def describe_stack_resource_drifts(request: Request) -> dict[str, Any]:
    wanted = request.get("StackResourceDriftStatusFilters", [])
    found = [one.drift for one in request.stack.resources.values() if one.drift is not None]
    chosen = [one for one in found if not wanted or one["StackResourceDriftStatus"] in wanted]
    return {"StackResourceDrifts": chosen}


@verb
def detect_stack_resource_drift(request: Request) -> dict[str, Any]:
    return {"StackResourceDrift": detect_resource(request.stack, _one_resource(request))}
