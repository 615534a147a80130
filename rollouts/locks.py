"""A lease in the database for what only one worker may write at a time.

Remote routers and platforms write inside one: what they overwrite has no compare-and-set, so they
read the rows again inside, and look before each write whether the lease is still theirs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from rollouts.clock import moment
from rollouts.errors import LockBusy
from rollouts.models import Lock

AGAIN_S = 0.05


@dataclass(frozen=True)
class Held:
    """A lease that was taken. ``monotonic`` seconds tell its end also when the wall clock jumps."""

    name: str
    owner: str
    ends_mono: float

    def check(self) -> None:
        """Right before a write. Raises LockBusy when the lease ended meanwhile."""
        if time.monotonic() >= self.ends_mono or not Lock.objects.held(
            self.name, self.owner, moment().now
        ):
            raise LockBusy(f"The lock {self.name} ended before the write; nothing was written.")


@contextmanager
def hold(name: str, *, seconds: float, wait_s: float) -> Iterator[Held]:
    """Hold the lease for at most ``seconds``; wait ``wait_s`` for it. Raises LockBusy."""
    owner = uuid4().hex
    give_up = time.monotonic() + wait_s
    while not Lock.objects.take(name, owner, *_span(seconds)):
        if time.monotonic() >= give_up:
            raise LockBusy(f"Another worker writes {name} right now.")
        time.sleep(AGAIN_S)
    try:
        yield Held(name, owner, time.monotonic() + seconds)
    finally:
        Lock.objects.give_back(name, owner)


def _span(seconds: float) -> tuple[datetime, datetime]:
    now = moment().now
    return now, now + timedelta(seconds=seconds)
