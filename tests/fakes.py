"""A platform and a router in memory, behind the same ports as the real ones.

State is per service and lives in module-level dicts, because ports are made anew for every tick;
``reset`` clears it. Tests turn the knobs: who is healthy, who answers, who confirms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rollouts.domain.state import Confirmed, Verdict
from rollouts.errors import PlatformStale, PlatformUnreachable, RouterUnreachable
from rollouts.models import Service, Version
from rollouts.platforms.base import Joins, Pace, Task
from rollouts.routers.base import Caps


@dataclass(frozen=True)
class Route:
    """Weights by target name, as a router has them."""

    generation: int
    weights: Mapping[str, int]


@dataclass
class World:
    """What is out there. ``sick``: labels that never get healthy; ``silent``: nobody confirms."""

    tasks: dict[int, dict[int, list[Task]]] = field(default_factory=dict)
    revisions: dict[int, int] = field(default_factory=dict)
    weights: dict[int, Route] = field(default_factory=dict)
    pushes: list[Route] = field(default_factory=list)
    sick: set[str] = field(default_factory=set)
    silent: bool = False
    platform_down: bool = False
    router_down: bool = False
    caps: Caps = field(default_factory=Caps)
    pace: Pace = field(default_factory=Pace)
    joins: dict[int, Joins] = field(default_factory=dict)
    targets: dict[int, set[str]] = field(default_factory=dict)

    def kill(self, version: Version, reason: str = "killed by signal 9 (SIGKILL)") -> None:
        """Every task of the version dies and does not come back."""
        several = self.tasks[version.service_id][version.pk]
        self.tasks[version.service_id][version.pk] = [
            replace(t, healthy=False, state="backoff", exits=t.exits + 1, reason=reason)
            for t in several
        ]


WORLD = World()


def reset() -> World:
    WORLD.__init__()  # type: ignore[misc]
    return WORLD


class FakePlatform:
    @property
    def pace(self) -> Pace:
        return WORLD.pace

    def deaths_allowed(self, tasks: int) -> int:
        return 3 * tasks

    def apply(
        self, service: Service, counts: Mapping[Version, int], *, revision: int, joins: Joins
    ) -> None:
        WORLD.joins[service.pk] = joins
        if WORLD.platform_down:
            raise PlatformUnreachable("The fake platform does not answer.")
        if revision < WORLD.revisions.get(service.pk, 0):
            raise PlatformStale("An older revision.")
        WORLD.revisions[service.pk] = revision
        known = WORLD.tasks.get(service.pk, {})
        WORLD.tasks[service.pk] = {
            version.pk: [_task(version, i, known) for i in range(count)]
            for version, count in counts.items()
        }

    def observe(self, service: Service) -> Mapping[int, Sequence[Task]]:
        if WORLD.platform_down:
            raise PlatformUnreachable("The fake platform does not answer.")
        return WORLD.tasks.get(service.pk, {})


def _task(version: Version, index: int, known: Mapping[int, Sequence[Task]]) -> Task:
    for task in known.get(version.pk, ()):
        if task.index == index:
            return task
    healthy = version.label not in WORLD.sick
    name = f"service-{version.service_id}/{version.pk}/{index}"
    reason = "" if healthy else "its health check says NOT_SERVING."
    port = 20_000 + version.pk * 50 + index
    return Task(
        name,
        index,
        "127.0.0.1",
        port,
        "running",
        healthy,
        reason=reason,
        started_at=1_750_000_000.0,
    )


class FakeRouter:
    @property
    def caps(self) -> Caps:
        return WORLD.caps

    def ensure_targets(self, service: Service, versions: Sequence[Version]) -> Joins:
        WORLD.targets.setdefault(service.pk, set()).update(v.target for v in versions)
        return {version.pk: {"target": version.target} for version in versions}

    def drop_targets(self, service: Service, versions: Sequence[Version]) -> None:
        WORLD.targets[service.pk] = {v.target for v in versions}

    def apply(self, service: Service, generation: int, *, wait_s: float) -> Confirmed:
        if WORLD.router_down:
            raise RouterUnreachable("The fake control plane does not answer.")
        service.refresh_from_db()
        versions = {str(version.pk): version for version in service.versions.all()}
        weights = {versions[pk].target: weight for pk, weight in service.weights.items()}
        route = Route(service.generation, weights)
        last = WORLD.weights.get(service.pk)
        if not WORLD.silent and (last is None or route.generation > last.generation):
            WORLD.weights[service.pk] = route
            WORLD.pushes.append(route)
        return self.observe(service)

    def observe(self, service: Service) -> Confirmed:
        if WORLD.router_down:
            raise RouterUnreachable("The fake control plane does not answer.")
        last = WORLD.weights.get(service.pk)
        if last is not None and last.generation >= service.generation:
            return Confirmed(service.generation, Verdict.YES)
        if last is None and service.generation == 0 and not WORLD.silent:
            return Confirmed(0, Verdict.YES)
        return Confirmed(service.generation, Verdict.NO, ("envoy-1 has not acknowledged.",))
