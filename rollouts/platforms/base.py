"""The platform port: where versions run.

``reconcile`` calls it; adapters turn their library's errors into PlatformError. Adapters know rows
only as arguments and never write any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from rollouts.errors import PlatformError
from rollouts.models import Service, Version

REGISTRY = {
    "local": "rollouts.platforms.local.LocalPlatform",
    "ecs": "rollouts.platforms.ecs.EcsPlatform",
}

# What a router wants the tasks of each version to join, by version pk: {"target_group": arn} …
Joins = Mapping[int, Mapping[str, str]]


@dataclass(frozen=True)
class Pace:
    """Seconds between two looks: while something moves, and at rest. ``lease_s``: one tick.

    ``remote``: a look may take so long that no person should wait for it.
    """

    busy_s: float = 0.4
    idle_s: float = 1.9
    lease_s: float = 3.0
    remote: bool = False


@dataclass(frozen=True)
class Task:
    """One running instance of a version. ``exits`` counts deaths nobody asked for.

    ``reason``: a sentence when it is not well ("exited with code 1: …"); ``log``: its last lines.
    """

    name: str
    index: int
    host: str
    port: int | None
    state: str  # starting, running, stopping, backoff
    healthy: bool
    pid: int | None = None
    exits: int = 0
    reason: str = ""
    log: str = ""
    started_at: float | None = None  # Unix time


class Platform(Protocol):
    pace: Pace

    def deaths_allowed(self, tasks: int) -> int:
        """Deaths of starting tasks after which a version is given up; ``tasks`` it should have."""

    def apply(
        self, service: Service, counts: Mapping[Version, int], *, revision: int, joins: Joins
    ) -> None:
        """Start, scale, stop so that each version has ``count`` tasks; idempotent, does not wait.

        Versions not named are stopped, and what was made for them is removed. A
        ``revision`` older than the last raises PlatformStale; raises PlatformUnreachable when
        nobody answers.
        """

    def observe(self, service: Service) -> Mapping[int, Sequence[Task]]:
        """Tasks by version pk. Raises PlatformUnreachable."""


def platform(kind: str) -> Platform:
    """The platform of this kind; raises PlatformError for an unknown one."""
    if kind not in REGISTRY:
        raise PlatformError(f"There is no platform of the kind {kind!r}.", permanent=True)
    module, _, name = REGISTRY[kind].rpartition(".")
    made: Platform = getattr(import_module(module), name)()
    return made
