"""What the machine does with stacks: one step of the provisioner at a time, with its log as rows.

Called by Celery tasks and by the doors. A step never waits: the stack asks to be woken again until
it is as wanted, so no worker sleeps and a killed one loses nothing.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F

from rollouts import live
from rollouts.clock import Moment
from rollouts.errors import MeshuiError
from rollouts.models import Event, Mesh, Stack, StackEvent
from rollouts.stacks.base import Progress, provisioner

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=5)  # a killed worker never gives it back
AGAIN = timedelta(seconds=0.4)  # less than the beat's half second, or every other one is missed
RETRY_S = 0.4
STEPS = 6  # in one tick, while each finds something to do at once


def tick_due(at: Moment) -> int:
    """Advance every stack that is due; return how many."""
    return sum(tick_wish(pk, at) for pk in Stack.objects.due(at.now).values_list("pk", flat=True))


def tick_wish(pk: int, at: Moment) -> bool:
    """Tick a stack that is due, unless somebody else does; a door calls it right after a wish."""
    if not Stack.objects.claim(pk, at.now, at.now + LEASE):
        return False
    try:
        tick(pk, at)
    finally:
        Stack.objects.filter(pk=pk).update(lease_until=None)
    return True


def tick(pk: int, at: Moment) -> None:
    """Bring one stack as far as it can go now."""
    for _ in range(STEPS):
        stack = Stack.objects.select_related("mesh").get(pk=pk)
        progress = _advance(stack)
        moved = _store(stack, progress, at)
        if not moved or progress.again_s or progress.phase not in Stack.WORKING:
            break


def _advance(stack: Stack) -> Progress:
    try:
        return provisioner(stack.kind).advance(stack)
    except MeshuiError as error:
        log.warning("stack %s: %s", stack.name, error)
        return _troubled(stack, error)


def _troubled(stack: Stack, error: MeshuiError) -> Progress:
    """Where a stack is after a step failed: tried again, or not."""
    if stack.phase == "ready" and stack.drift_asked:
        drift = {"problem": str(error)} if error.permanent else None
        again_s = None if error.permanent else RETRY_S
        return _stays(stack, "ready", drift=drift, again_s=again_s)
    if error.permanent:
        return _stays(stack, "failed", reason=str(error))
    working = {Stack.PRESENT: "creating", Stack.ABSENT: "deleting", Stack.PROPOSAL: "proposing"}
    phase = stack.phase if stack.phase in Stack.WORKING else working[stack.wanted]
    return _stays(stack, phase, reason=str(error), again_s=RETRY_S)


def _stays(stack: Stack, phase: str, **changes: Any) -> Progress:
    return Progress(phase, stack.step, stack.done, stack.total, **changes)


@transaction.atomic
def _store(stack: Stack, progress: Progress, at: Moment) -> bool:
    """Write the facts and the new lines; True when the stack moved on.

    Nothing at all when somebody asked for something else, or stored first.
    """
    kept = Stack.objects.filter(pk=stack.pk, attempt=stack.attempt, ticks=stack.ticks)
    outputs = dict(progress.outputs) or ({} if progress.phase == "absent" else stack.outputs)
    told = {"operation": progress.operation, "proposal": progress.proposal, "drift": progress.drift}
    changed: dict[str, Any] = {name: value for name, value in told.items() if value is not None}
    if "drift" in changed:
        changed["drift_at"] = at.now
    wrote = kept.update(
        **changed,
        ticks=F("ticks") + 1,
        phase=progress.phase,
        step=progress.step,
        done=progress.done,
        total=progress.total,
        reason=progress.reason,
        outputs=outputs,
        wake_at=_again(progress, at),
        ready_at=at.now if progress.phase == "ready" and stack.phase != "ready" else stack.ready_at,
    )
    if not wrote:
        return False
    if progress.endpoint is not None:
        Mesh.objects.filter(pk=stack.mesh_id).update(public_url=progress.endpoint)
    lines = [
        StackEvent(
            stack=stack,
            at=line.at or at.now,
            resource=line.resource,
            kind=line.kind,
            status=line.status,
            reason=line.reason,
            uid=line.uid,
        )
        for line in progress.lines
    ]
    StackEvent.objects.bulk_create(lines, ignore_conflicts=True)
    if progress.phase != stack.phase:
        _say(stack, progress, at)
    transaction.on_commit(lambda: live.ring(f"stack-{stack.pk}"))
    return bool(progress.lines) or progress.step != stack.step


def _again(progress: Progress, at: Moment) -> datetime | None:
    if progress.again_s is not None:
        return at.now + timedelta(seconds=progress.again_s)
    return at.now + AGAIN if progress.phase in Stack.WORKING else None


def _say(stack: Stack, progress: Progress, at: Moment) -> None:
    words = {
        **{"absent": "is destroyed", "ready": "is ready", "failed": "failed"},
        **{"proposing": "works out its changes", "proposed": "has changes to confirm"},
    }
    Event.objects.create(
        at=at.now,
        mesh=stack.mesh,
        verb=f"stack-{progress.phase}",
        text=f"Stack {stack.name} {words.get(progress.phase, f'is {progress.phase}')}.",
        reason=progress.reason,
        severity="error" if progress.phase == "failed" else "info",
    )
