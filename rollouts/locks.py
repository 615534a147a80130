"""A lease in the database for what only one worker may write at a time.

Remote routers and platforms write inside one: what they overwrite has no compare-and-set, so they
read the rows again inside, and look before each write whether the lease is still theirs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
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

    def check(self, needs_s: float = 0.0) -> None:
        """Right before a write of at most ``needs_s`` seconds.

        Raises LockBusy when the lease has ended, or might before the write does.
        """
        lasts = time.monotonic() + needs_s < self.ends_mono
        if not lasts or not Lock.objects.held(self.name, self.owner, moment().now):
            raise LockBusy(f"The lock {self.name} ends before the write; nothing was written.")


@contextmanager
def hold(name: str, *, seconds: float, wait_s: float) -> Iterator[Held]:
    """Hold the lease for at most ``seconds``; wait ``wait_s`` for it. Raises LockBusy."""
    owner = f"{_process(os.getpid())}-{uuid4().hex[:10]}"
    give_up = time.monotonic() + wait_s
    while not Lock.objects.take(name, owner, *_span(seconds)):
        if _bury(name):
            continue
        if time.monotonic() >= give_up:
            raise LockBusy(f"Another worker writes {name} right now.")
        time.sleep(AGAIN_S)
    try:
        yield Held(name, owner, time.monotonic() + seconds)
    finally:
        Lock.objects.give_back(name, owner)


def _process(pid: int) -> str:
    """A process of this machine, or of this container: pids are counted from one in each."""
    return f"{_machine()}-{pid}"


@cache
def _machine() -> str:
    place = Path("/proc/self/ns/pid")
    return f"{moment().boot[:8]}-{place.stat().st_ino if place.exists() else 0}"


def _bury(name: str) -> bool:
    """Free a lock whose owner was a process here that is dead: nobody need wait for its lease."""
    owner = Lock.objects.filter(name=name).values_list("owner", flat=True).first() or ""
    process = owner.rpartition("-")[0]
    machine, _, pid = process.rpartition("-")
    if machine != _machine() or not pid.isdigit() or _lives(int(pid)):
        return False
    Lock.objects.give_back(name, owner)
    return True


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _span(seconds: float) -> tuple[datetime, datetime]:
    now = moment().now
    return now, now + timedelta(seconds=seconds)
