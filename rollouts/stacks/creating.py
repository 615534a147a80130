"""Towards *present*: carry out the change set that a person has confirmed, and watch it end.

Called by ``cloudformation``. It executes exactly the change set that was asked for, once.
"""

from __future__ import annotations

from uuid import uuid4

from django.utils import timezone

from rollouts.errors import AwsRefused, ProvisionerError
from rollouts.models import Stack
from rollouts.stacks import identity, registered
from rollouts.stacks.base import Line, Progress
from rollouts.stacks.cfn import Cloud, There
from rollouts.stacks.watching import POLL_S, Look, Operation, at, begun, look, stage_of, why

CONTINUE = "continue"  # in place of a change set: go on with a rollback that failed
STALE = "These changes are not there any more: look at the new ones."


def step(stack: Stack) -> Progress:
    """One step; ends in *ready* or *failed*."""
    stage = stage_of(stack)
    if stage in ("done", "failed"):
        return at(stack, stack.phase, stage, reason=stack.reason)
    cloud = Cloud(stack)
    if not stage:
        return _begin(stack, cloud)
    if stage == "execute":
        return _execute(stack, cloud)
    if stage == "finish":
        return _finish(stack, cloud)
    return _watch(stack, cloud)


def _phase(operation: Operation) -> str:
    return "creating" if operation.get("create") else "updating"


def _begin(stack: Stack, cloud: Cloud) -> Progress:
    """Choose the token, which is stored before it is used, and note where the events are now."""
    there = cloud.there()
    if there is None:
        raise ProvisionerError(STALE, permanent=True)
    change_set = str(stack.asked.get("change_set", ""))
    create = there.status in ("REVIEW_IN_PROGRESS", "CREATE_IN_PROGRESS")
    changes = len(stack.proposal.get("changes", []))
    operation, lines = begun(stack, cloud, there, uuid4().hex, create=create,
                             change_set=change_set, total=changes)  # fmt: skip
    stage = "execute" if change_set else "watch"
    return at(stack, _phase(operation), stage, operation, lines=lines)


def _execute(stack: Stack, cloud: Cloud) -> Progress:
    operation = stack.operation
    if operation["change_set"] == CONTINUE:
        return _go_on(stack, cloud)
    found = cloud.change_set(operation["change_set"])
    status = found["ExecutionStatus"] if found else ""
    if status == "AVAILABLE":
        _execute_once(cloud, operation)
    elif not status.startswith("EXECUTE_") and not _moved(cloud, operation):
        raise ProvisionerError(STALE, permanent=True)
    # No proposal any more: what it said is being done.
    return at(stack, _phase(operation), "watch", dict(operation), again_s=POLL_S, proposal={})


def _execute_once(cloud: Cloud, operation: Operation) -> None:
    try:
        cloud.execute(operation["change_set"], operation["token"])
    except AwsRefused:
        # Another worker, whose lease had ended, may have been a moment earlier.
        now = cloud.change_set(operation["change_set"])
        if now is None or not now["ExecutionStatus"].startswith("EXECUTE_"):
            raise


def _go_on(stack: Stack, cloud: Cloud) -> Progress:
    there = cloud.there()
    if there is not None and there.status == "UPDATE_ROLLBACK_FAILED":
        cloud.go_on(stack.operation["token"])
    return at(stack, "updating", "watch", again_s=POLL_S)


def _moved(cloud: Cloud, operation: Operation) -> bool:
    """Something has happened since: the answer to the request to execute was lost."""
    return bool(cloud.events(operation["stack_id"], operation["last_event"]))


def _watch(stack: Stack, cloud: Cloud) -> Progress:
    seen = look(stack, cloud)
    phase = _phase(seen.operation)
    if not seen.over:
        return at(stack, phase, "watch", seen.operation, lines=seen.lines, again_s=POLL_S)
    if _succeeded(seen):
        return at(stack, phase, "finish", seen.operation, lines=seen.lines)
    return _failed(stack, seen)


def _succeeded(seen: Look) -> bool:
    there = seen.there
    if there is None or not there.complete:
        return False
    # A rollback that was asked for has succeeded when it is complete; any other has failed.
    return "ROLLBACK" not in there.status or seen.operation.get("change_set") == CONTINUE


def _failed(stack: Stack, seen: Look) -> Progress:
    operation = {**seen.operation, "status": seen.there.status if seen.there else ""}
    return at(stack, "failed", "failed", operation, lines=seen.lines, proposal={},
              reason=why(operation, seen.there))  # fmt: skip


def _finish(stack: Stack, cloud: Cloud) -> Progress:
    """What CloudFormation does not do itself; all of it harmless twice."""
    there = cloud.there()
    if there is None:
        raise ProvisionerError(f"The stack {cloud.name} is gone, deleted outside meshui.",
                               permanent=True)  # fmt: skip
    if stack.mesh.production and not there.protected:
        cloud.protect(on=True)
    now = timezone.now()
    if there.outputs.get("EchoClientSecret"):
        identity.ensure(stack.mesh, there.outputs["EchoClientSecret"], now)
    if stack.name == "app":
        registered.ensure(stack.mesh, now)
    return ready(stack, there)


def ready(stack: Stack, there: There) -> Progress:
    """The stack is there; its outputs are told in its log too."""
    lines = [
        Line(stack.name, "Output", "OUTPUT", f"{key}: {value}", uid=f"{stack.attempt}-{key}")
        for key, value in sorted(there.outputs.items())
    ]
    endpoint = there.outputs.get("Endpoint") if stack.name == "app" else None
    return at(stack, "ready", "done", lines=lines, outputs=there.outputs, endpoint=endpoint)
