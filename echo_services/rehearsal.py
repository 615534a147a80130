"""Lets a version misbehave on purpose, so that a rollout of it can be rehearsed.

Used by ``server.py`` only. With none of its variables set it does nothing:

- ``ERROR_SHARE`` (0 to 1) of the requests fail with INTERNAL, evenly spread: 0.25 fails exactly
  every fourth. INTERNAL, because a mesh retries UNAVAILABLE and so would hide it.
- ``LATENCY_MS`` (0 to 60000) is added to every request.
- ``CRASH_AFTER``: answer so many requests, then end with code 1 on the next, without a word.
- ``NEVER_HEALTHY`` (1): answer requests but report NOT_SERVING for ever.
- ``SLOW_START_SECONDS`` (0 to 3600): report NOT_SERVING so long after the start.
"""

import asyncio
import os
from dataclasses import dataclass, field
from fractions import Fraction

from echo_services.environment import Environment, number, switch, whole


class RehearsedError(Exception):
    """This request is one of those that ERROR_SHARE asks to fail."""


@dataclass(slots=True)
class Rehearsal:
    """What goes wrong, and how many requests have been counted against it."""

    error_share: float = 0.0
    latency_ms: float = 0.0
    crash_after: int | None = None
    never_healthy: bool = False
    slow_start_seconds: float = 0.0
    _seen: int = field(default=0, init=False)

    @classmethod
    def from_environment(cls, env: Environment) -> "Rehearsal":
        """Raises SettingError, naming the variable."""
        crashes = bool(env.get("CRASH_AFTER"))
        return cls(
            error_share=number(env, "ERROR_SHARE", 0, most=1),
            latency_ms=number(env, "LATENCY_MS", 0, most=60_000),
            crash_after=whole(env, "CRASH_AFTER", 0, least=0, most=10**9 - 1) if crashes else None,
            never_healthy=switch(env, "NEVER_HEALTHY"),
            slow_start_seconds=number(env, "SLOW_START_SECONDS", 0, most=3600),
        )

    async def play(self) -> None:
        """Do to the request at hand what was asked for. Raises RehearsedError, or never returns."""
        self._seen += 1
        if self.crash_after is not None and self._seen > self.crash_after:
            os._exit(1)  # As a crash does: no clean-up, no farewell to the callers.
        failing = self.error_share and self._is_due(self._seen)
        if self.latency_ms:
            await asyncio.sleep(self.latency_ms / 1000)
        if failing:
            raise RehearsedError

    def _is_due(self, nth: int) -> bool:
        # Exact arithmetic: in floats a tenth, added up, is not yet one at the tenth request.
        share = Fraction(str(self.error_share))
        return nth * share // 1 > (nth - 1) * share // 1
