"""The log of a stack, and the clock by which its work goes on.

Called by the stacks. Work is a generator that stops wherever time passes; ``Clockwork`` runs it as
far as the clock has come, each time somebody looks. So a log grows while it is watched, without a
thread, and with no time per step everything is done at once.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from tests.fakeaws import world

LOOK_AGAIN_S = 0.01
LONGEST_S = 2.0  # a request does no more work than this; the next one goes on
PAGE = 100  # events an answer, as in AWS
STACK_TYPE = "AWS::CloudFormation::Stack"
Steps = Iterator["Pause"]


class Pause(Enum):
    """Why a generator stops."""

    STEP = "the time of one step"
    WAIT = "the world has to move first"


def seconds_per_step() -> float:
    """How long a resource takes; 0 does everything at once."""
    return world.speeds.stack


def moment(at: float) -> datetime:
    """Seconds since 1970 as a time in UTC."""
    return datetime.fromtimestamp(at, UTC)


@dataclass(frozen=True)
class StackEvent:
    """One line of the log. ``at`` in seconds since 1970."""

    stack_id: str
    logical: str
    physical: str
    kind: str
    status: str
    reason: str | None
    token: str | None
    at: float
    id: str

    def answer(self) -> dict[str, Any]:
        """As DescribeStackEvents gives it."""
        return {
            "StackId": self.stack_id,
            "EventId": self.id,
            "StackName": self.stack_id.split("/")[1],
            "LogicalResourceId": self.logical,
            "PhysicalResourceId": self.physical,
            "ResourceType": self.kind,
            "Timestamp": moment(self.at),
            "ResourceStatus": self.status,
            "ResourceStatusReason": self.reason,
            "ClientRequestToken": self.token,
        }


class Log:
    """The events of one stack, oldest first. Two never share an id or a time."""

    def __init__(self, stack_id: str) -> None:
        self._stack_id = stack_id
        self.events: list[StackEvent] = []

    def add(
        self,
        logical: str,
        physical: str,
        kind: str,
        status: str,
        *,
        reason: str | None,
        token: str | None,
        at: float,
    ) -> None:
        """Write a line; its time is moved on by a millisecond if another has that time."""
        if self.events:
            at = max(at, self.events[-1].at + 0.001)
        stem = str(uuid.uuid4())
        event_id = stem if kind == STACK_TYPE else f"{logical}-{status}-{stem[:8]}"
        event = StackEvent(
            self._stack_id, logical, physical, kind, status, reason, token, at, event_id
        )
        self.events.append(event)

    def page(self, token: str | None) -> tuple[list[StackEvent], str | None]:
        """Up to PAGE events, newest first, after the one whose id is the token."""
        newest_first = self.events[::-1]
        start = 0
        if token:
            start = 1 + next(i for i, event in enumerate(newest_first) if event.id == token)
        page = newest_first[start : start + PAGE]
        more = start + PAGE < len(newest_first)
        return page, page[-1].id if more else None


class Clockwork:
    """Runs steps as time passes: one, then ``pace`` seconds, then the next."""

    def __init__(self, steps: Steps, *, pace: float, now: float | None = None) -> None:
        self._steps = steps
        self._pace = pace
        self.due = time.time() if now is None else now
        self.done = False

    def advance(self, now: float) -> None:
        """Do every step that is due. ``due`` is the time of the step while it runs."""
        began = time.monotonic()
        while not self.done and self.due <= now and time.monotonic() - began < LONGEST_S:
            try:
                pause = next(self._steps)
            except StopIteration:
                self.done = True
                return
            self.due += self._pace
            if pause is Pause.WAIT:
                self.due = max(self.due, now + LOOK_AGAIN_S)
