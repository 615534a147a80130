"""Follows the health of one life of one task: when to probe, and what to believe.

`groups.py` starts a watch when a child begins to live and cancels it when it ends.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from rollouts.supervisor.probes import Finding, open_probe
from rollouts.supervisor.spec import Health

FIRST_PAUSE_S = 0.05
FAILURES_TO_BELIEVE = 2


@dataclass
class Pulse:
    """The belief about one life. One failed probe may be a hiccup, the second is believed."""

    healthy: bool = False
    text: str = "not probed yet"
    failures: int = 0

    def add(self, finding: Finding) -> bool:
        """Count one finding in; True when the belief or its text has changed."""
        before = (self.healthy, self.text)
        self.failures = 0 if finding.healthy else self.failures + 1
        if finding.healthy or not self.healthy or self.failures >= FAILURES_TO_BELIEVE:
            self.healthy, self.text = finding.healthy, finding.text
        return before != (self.healthy, self.text)

    def end(self, text: str) -> None:
        """The life is over, and nothing dead is healthy."""
        self.healthy, self.text, self.failures = False, text, 0


async def watch(health: Health, port: int | None, found: Callable[[Finding], None]) -> None:
    """Probe until cancelled and pass on every finding.

    Quickly until the task is healthy for the first time, so that a start is noticed at once;
    then every ``interval_s`` seconds.
    """
    probe = open_probe(health, port)
    next_pause_s = FIRST_PAUSE_S
    try:
        while True:
            began = time.monotonic()
            finding = await probe.check()
            found(finding)
            if health.kind == "none":
                return
            pause_s = health.interval_s if finding.healthy else min(next_pause_s, health.interval_s)
            next_pause_s = pause_s * 2
            await asyncio.sleep(max(0.0, pause_s - (time.monotonic() - began)))
    finally:
        await probe.close()
