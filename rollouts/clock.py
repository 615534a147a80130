"""The one place that reads the clock. Doors call it; everything below them takes a ``Moment``."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from django.utils import timezone


@dataclass(frozen=True)
class Moment:
    """An instant: the wall clock for people, ``mono`` (seconds since ``boot``) for sums."""

    now: datetime
    mono: float
    boot: str

    def since(self, wall: float, mono: float, boot: str) -> float:
        """Seconds since an earlier moment, never negative.

        On one boot of one machine the wall clock does not matter: it may jump. Between machines,
        or over a reboot, it is all there is.
        """
        if boot == self.boot:
            return max(0.0, self.mono - mono)
        return max(0.0, self.now.timestamp() - wall) if boot else 0.0


@cache
def _boot() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip()[:40] if path.exists() else "unknown"


def moment() -> Moment:
    return Moment(timezone.now(), time.monotonic(), _boot())
