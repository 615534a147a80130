"""What the machine does with stacks: one step of the provisioner at a time, with its log as rows.

Called by Celery tasks and by the doors. A step never waits: the stack asks to be woken again until
it is as wanted, so no worker sleeps and a killed one loses nothing.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db import transaction

from rollouts import live
from rollouts.clock import Moment
from rollouts.errors import MeshuiError
from rollouts.models import Event, Mesh, Stack, StackEvent
from rollouts.stacks.base import Progress, provisioner

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=5)  # a killed worker never gives it back
AGAIN = timedelta(seconds=0.4)  # less than the beat's half second, or every other one is missed
STEPS = 6  # in one tick, while each finds something to do at once
WORKING = ("creating", "deleting")


def tick_due(at: Moment) -> int:
    """Advance every stack that is due; return how many."""
    ticked = 0
    for pk in Stack.objects.due(at.now).values_list("pk", flat=True):
        if Stack.objects.claim(pk, at.now, at.now + LEASE):
            ticked += 1
            try:
                tick(pk, at)
            finally:
                Stack.objects.filter(pk=pk).update(lease_until=None)
    return ticked


def tick(pk: int, at: Moment) -> None:
    """Bring one stack as far as it can go now."""
    for _ in range(STEPS):
        stack = Stack.objects.select_related("mesh").get(pk=pk)
        progress = _advance(stack)
        moved = _store(stack, progress, at)
        if not moved or progress.phase not in WORKING:
            break


def _advance(stack: Stack) -> Progress:
    try:
        return provisioner(stack.kind).advance(stack)
    except MeshuiError as error:
        log.warning("stack %s: %s", stack.name, error)
        working = "creating" if stack.wanted == Stack.PRESENT else "deleting"
        phase = "failed" if error.permanent else working
        return Progress(phase, stack.step, stack.done, stack.total, reason=str(error))


@transaction.atomic
def _store(stack: Stack, progress: Progress, at: Moment) -> bool:
    """Write the facts and the new lines; True when the stack moved on."""
    working = progress.phase in WORKING
    kept = Stack.objects.filter(pk=stack.pk, attempt=stack.attempt)
    outputs = dict(progress.outputs) or ({} if progress.phase == "absent" else stack.outputs)
    wrote = kept.update(
        phase=progress.phase,
        step=progress.step,
        done=progress.done,
        total=progress.total,
        reason=progress.reason,
        outputs=outputs,
        wake_at=at.now + AGAIN if working else None,
        ready_at=at.now if progress.phase == "ready" and stack.phase != "ready" else stack.ready_at,
    )
    if not wrote:
        return False
    Mesh.objects.filter(pk=stack.mesh_id).update(public_url=outputs.get("endpoint", ""))
    StackEvent.objects.bulk_create(
        StackEvent(
            stack=stack,
            at=at.now,
            resource=line.resource,
            kind=line.kind,
            status=line.status,
            reason=line.reason,
        )
        for line in progress.lines
    )
    if progress.phase != stack.phase:
        _say(stack, progress, at)
    transaction.on_commit(lambda: live.ring(f"stack-{stack.name}"))
    return bool(progress.lines) or progress.step != stack.step


def _say(stack: Stack, progress: Progress, at: Moment) -> None:
    words = {"absent": "is destroyed", "ready": "is ready", "failed": "failed"}
    Event.objects.create(
        at=at.now,
        mesh=stack.mesh,
        verb=f"stack-{progress.phase}",
        text=f"Stack {stack.name} {words.get(progress.phase, f'is {progress.phase}')}.",
        reason=progress.reason,
        severity="error" if progress.phase == "failed" else "info",
    )
