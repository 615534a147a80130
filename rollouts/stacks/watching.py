"""Where an operation of CloudFormation is: its new events, its end, and why it failed.

``creating`` and ``destroying`` look at every tick; nothing waits here. What must be remembered
between two looks is the stack's ``operation``: plain JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rollouts.models import Stack
from rollouts.stacks.base import Line, Progress
from rollouts.stacks.cfn import Cloud, Happened, There

POLL_S = 2.0
QUIET_LOOKS = 15  # without news and nothing under way: it has ended, although no event said so

Operation = dict[str, Any]


@dataclass(frozen=True)
class Look:
    """What one look brought. ``there`` is None when the stack is gone without a trace."""

    lines: Sequence[Line]
    operation: Operation
    there: There | None

    @property
    def over(self) -> bool:
        """It has ended, and one further look brought nothing."""
        if self.there is not None and self.there.busy:
            return False
        quiet = int(self.operation["quiet"])
        return quiet >= (1 if self.operation.get("ended") else QUIET_LOOKS) or self.there is None


def begun(
    stack: Stack, cloud: Cloud, there: There, token: str, **more: Any
) -> tuple[Operation, Sequence[Line]]:
    """A new operation, before it is asked for, and the events of before that nobody has seen."""
    old = stack.operation
    seen = old.get("last_event", "") if old.get("stack_id") == there.id else ""
    events = cloud.events(there.id, seen)
    operation = {
        "attempt": stack.attempt,
        "token": token,
        "stack_id": there.id,
        "last_event": events[-1].id if events else seen,
        "quiet": 0,
        "complete": [],
        **more,
    }
    return operation, [event.line for event in events]


def look(stack: Stack, cloud: Cloud) -> Look:
    """Two calls: the events since the last look, and the status after them."""
    operation: Operation = dict(stack.operation)
    events = cloud.events(operation["stack_id"], operation["last_event"])
    there = cloud.there(operation["stack_id"])
    operation["quiet"] = 0 if events else operation["quiet"] + 1
    if events:
        operation["last_event"] = events[-1].id
    for event in events:
        _note(operation, event)
    return Look([event.line for event in events], operation, there)


def _note(operation: Operation, event: Happened) -> None:
    if event.broke and not operation.get("failure"):
        operation["failure"] = f"{event.logical}: {event.reason or event.status}"
    if event.ends:
        operation["ended"] = event.status
    elif event.status.endswith("_COMPLETE") and not event.of_stack:
        operation["complete"] = sorted({*operation["complete"], event.logical})


def why(operation: Operation, there: There | None) -> str:
    """The first line on a failure: the event that began it, or what the stack says itself."""
    said = there.reason if there is not None else "The stack is gone, deleted outside meshui."
    status = there.status if there is not None else ""
    return str(operation.get("failure") or said or status)


def at(
    stack: Stack, phase: str, stage: str, operation: Operation | None = None, **more: Any
) -> Progress:
    """A Progress whose step is ``stage`` of this attempt."""
    known = operation if operation is not None else stack.operation
    total = int(known.get("total", 0))
    done = min(total, len(known.get("complete", [])))
    if phase == "ready":
        done = total
    step = f"{phase}-{stack.attempt}:{stage}"
    return Progress(phase, step, done, total, operation=operation, **more)


def stage_of(stack: Stack) -> str:
    """The stage that this attempt has reached; empty: it has not begun."""
    if stack.operation.get("attempt") != stack.attempt:
        return ""
    before, _, stage = stack.step.rpartition(":")
    return stage if before.endswith(f"-{stack.attempt}") else ""
