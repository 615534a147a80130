"""Drift: what somebody changed or removed behind a stack's back.

Called by the API of the fake CloudFormation. A resource is compared with what it looked like when
the stack's last work ended, in the properties that its template names: CloudFormation compares no
others either.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from tests.fakeaws.cloudformation_registry import kind_of
from tests.fakeaws.cloudformation_stack import Resource, Stack
from tests.fakeaws.stack_events import moment, seconds_per_step


@dataclass
class Detection:
    """One run of drift detection."""

    stack: Stack
    ready_at: float
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def answer(self) -> dict[str, Any]:
        """As DescribeStackDriftDetectionStatus gives it."""
        found = {
            "StackId": self.stack.stack_id,
            "StackDriftDetectionId": self.id,
            "Timestamp": moment(self.ready_at),
        }
        if time.time() < self.ready_at:
            return {**found, "DetectionStatus": "DETECTION_IN_PROGRESS"}
        drifted = [r for r in self.stack.living().values() if _drifted(r)]
        return {
            **found,
            "DetectionStatus": "DETECTION_COMPLETE",
            "StackDriftStatus": self.stack.drift_status,
            "DriftedStackResourceCount": len(drifted),
        }


def _drifted(resource: Resource) -> bool:
    status = (resource.drift or {}).get("StackResourceDriftStatus")
    return status in ("MODIFIED", "DELETED")


def detect(stack: Stack) -> Detection:
    """Compare every resource of a stack; the answer is ready after a step's time."""
    for resource in stack.living().values():
        detect_resource(stack, resource)
    drifted = any(map(_drifted, stack.living().values()))
    stack.drift_status = "DRIFTED" if drifted else "IN_SYNC"
    stack.drift_at = time.time()
    return Detection(stack, time.time() + seconds_per_step())


def detect_resource(stack: Stack, resource: Resource) -> dict[str, Any]:
    """Compare one resource; the answer is what DescribeStackResourceDrifts gives for it."""
    assert resource.made is not None
    expected = _compared(resource, resource.seen or {})
    actual = kind_of(resource.type).look(stack.call, resource.made, resource.props)
    found = {
        "StackId": stack.stack_id,
        "LogicalResourceId": resource.logical,
        "PhysicalResourceId": resource.physical,
        "ResourceType": resource.type,
        "ExpectedProperties": json.dumps(expected, sort_keys=True, default=str),
        "Timestamp": moment(time.time()),
    }
    if actual is None:
        found["StackResourceDriftStatus"] = "DELETED"
    else:
        there = _compared(resource, actual)
        differences = _differences(expected, there, "")
        found["ActualProperties"] = json.dumps(there, sort_keys=True, default=str)
        found["PropertyDifferences"] = differences
        found["StackResourceDriftStatus"] = "MODIFIED" if differences else "IN_SYNC"
    resource.drift = found
    return found


def _compared(resource: Resource, look: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in look.items() if name in resource.props}


def _differences(expected: Any, actual: Any, path: str) -> list[dict[str, str]]:
    if isinstance(expected, dict) and isinstance(actual, dict):
        return [
            difference
            for name in sorted(expected.keys() | actual.keys())
            for difference in _differences(expected.get(name), actual.get(name), f"{path}/{name}")
        ]
    if isinstance(expected, list) and isinstance(actual, list):
        if all(isinstance(one, str) for one in [*expected, *actual]):
            pairs = [(one, None) for one in expected if one not in actual]
            pairs += [(None, one) for one in actual if one not in expected]
            return [d for e, a in pairs for d in _differences(e, a, path)]
        longest = max(len(expected), len(actual))
        rows = zip(_filled(expected, longest), _filled(actual, longest), strict=True)
        return [d for i, (e, a) in enumerate(rows) for d in _differences(e, a, f"{path}/{i}")]
    if expected == actual:
        return []
    kind = "ADD" if expected is None else "REMOVE" if actual is None else "NOT_EQUAL"
    return [
        {
            "PropertyPath": path,
            "ExpectedValue": _word(expected),
            "ActualValue": _word(actual),
            "DifferenceType": kind,
        }
    ]


def _filled(values: list[Any], length: int) -> list[Any]:
    return values + [None] * (length - len(values))


def _word(value: Any) -> str:
    if value is None:
        return "null"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def install() -> None:
    """Nothing to patch: the API calls ``detect``."""
