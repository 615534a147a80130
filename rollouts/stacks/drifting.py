"""What differs between a stack and its template, asked for while it is ready.

Called by ``cloudformation``. Weights and task counts differ on purpose, for meshui moves them:
such resources are listed apart.
"""

from __future__ import annotations

from typing import Any

from rollouts.models import Stack
from rollouts.stacks.base import Progress
from rollouts.stacks.cfn import Cloud

POLL_S = 2.0
MOVED_BY_MESHUI = ("EchoServerListenerRule", "EchoServerRoute", "EchoServerService",
                   "EchoClientSecret")  # fmt: skip


def step(stack: Stack) -> Progress:
    """Start the detection of this request, or look how it is."""
    cloud = Cloud(stack)
    request = str(stack.drift_requested_at)
    if stack.operation.get("drift_for") != request:
        found = {"drift": cloud.detect_drift(), "drift_for": request}
        return _stays(stack, operation={**stack.operation, **found}, again_s=POLL_S)
    status = cloud.drift_status(stack.operation["drift"])
    if status["DetectionStatus"] == "DETECTION_IN_PROGRESS":
        return _stays(stack, again_s=POLL_S)
    problem = status.get("DetectionStatusReason", "")
    if status["DetectionStatus"] == "DETECTION_FAILED" and "StackDriftStatus" not in status:
        return _stays(stack, drift={"problem": problem or "CloudFormation gives no reason."})
    return _stays(stack, drift={**_answer(cloud, status["StackDriftStatus"]), "problem": problem})


def _answer(cloud: Cloud, status: str) -> dict[str, Any]:
    """What a person must know of is in ``resources``; what meshui moves itself is in ``moved``."""
    every = [_described(each) for each in cloud.drifts()] if status == "DRIFTED" else []
    resources = [each for each in every if each["resource"] not in MOVED_BY_MESHUI]
    moved = [each for each in every if each["resource"] in MOVED_BY_MESHUI]
    # AWS calls a stack drifted also when only a weight has moved, which is what meshui is for.
    only_moved = status == "DRIFTED" and not resources
    return {
        "status": "IN_SYNC" if only_moved else status,
        "resources": resources,
        "moved": moved,
    }


def _described(drift: dict[str, Any]) -> dict[str, Any]:
    return {
        "resource": drift["LogicalResourceId"],
        "kind": drift["ResourceType"],
        "status": drift["StackResourceDriftStatus"],
        "differences": [
            {
                "path": each["PropertyPath"],
                "expected": each["ExpectedValue"],
                "actual": each["ActualValue"],
                "type": each["DifferenceType"],
            }
            for each in drift.get("PropertyDifferences", [])
        ],
    }


def _stays(stack: Stack, **changes: Any) -> Progress:
    return Progress(stack.phase, stack.step, stack.done, stack.total, reason=stack.reason,
                    **changes)  # fmt: skip
