"""The rows that a rollout page draws, read once with a constant number of queries.

Used by ``board``, ``timeline``, ``verdict``, ``map``; they are pure on top of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rollouts.live.figures import Figures, Window, changed_at, figures_of, of_version, window
from rollouts.live.news import WORKER_LATE_S, is_stuck
from rollouts.live.pill import is_requested
from rollouts.models import (
    Acknowledgement,
    Event,
    Heartbeat,
    Proxy,
    Rollout,
    Route,
    Service,
    StepRecord,
    Task,
    TrafficBucket,
    Version,
)

EVENTS = 12


@dataclass(frozen=True)
class Facts:
    """Rows as they are at ``now``. ``newest``: no later rollout of the service exists."""

    now: datetime
    rollout: Rollout
    service: Service
    newest: bool
    versions: Mapping[int, Version]
    tasks: Sequence[Task]
    records: Mapping[str, StepRecord]
    route: Route | None
    proxies: Sequence[Proxy]
    acknowledged: Mapping[int, int]  # proxy pk → generation
    events: Sequence[Event]
    worker_at: datetime | None
    seen: Window
    figures: Mapping[int | None, Figures]

    @property
    def new(self) -> Version:
        return self.rollout.to_version

    @property
    def old(self) -> Version | None:
        return self.rollout.from_version

    @property
    def clock(self) -> float:
        """Unix time at which the timers (``left`` and the like) were stored."""
        return self.service.clock_wall

    @property
    def confirmed(self) -> bool:
        return self.route is not None and self.route.confirmed_at is not None

    @property
    def requested(self) -> bool:
        return is_requested(self.rollout)

    @property
    def stuck(self) -> bool:
        return is_stuck(self.rollout, self.route, self.now.timestamp())

    @property
    def worker_late(self) -> bool:
        """No worker has answered for 5 s."""
        if self.worker_at is None:
            return True
        return (self.now - self.worker_at).total_seconds() > WORKER_LATE_S

    def tasks_of(self, version: int) -> list[Task]:
        return [task for task in self.tasks if task.version_id == version]

    def healthy(self, version: int) -> int:
        return sum(task.healthy for task in self.tasks_of(version))

    def figures_of(self, version: int) -> Figures:
        return of_version(version, self.figures)

    def lagging(self) -> list[Proxy]:
        """Proxies that have not acknowledged the weights that should be in force."""
        want = self.service.generation
        return [p for p in self.proxies if self.acknowledged.get(p.pk, -1) < want]


def read_facts(rollout: Rollout, now: datetime) -> Facts:
    """Read everything about one rollout (its ``service`` and versions must be selected along)."""
    service = rollout.service
    newest = not Rollout.objects.filter(service=service, pk__gt=rollout.pk).exists()
    route = Route.objects.filter(service=service).order_by("-generation").first()
    beat = Heartbeat.objects.filter(name="worker").first()
    acks = Acknowledgement.objects.filter(service=service)
    seen = _window(rollout, newest, route, now)
    buckets = TrafficBucket.objects.filter(service=service).between(seen.first, seen.last)
    return Facts(
        now=now,
        rollout=rollout,
        service=service,
        newest=newest,
        versions={v.pk: v for v in Version.objects.filter(service=service)},
        tasks=list(Task.objects.filter(service=service).select_related("version")),
        records={r.key: r for r in StepRecord.objects.filter(rollout=rollout)},
        route=route,
        proxies=list(Proxy.objects.filter(mesh=service.mesh_id).order_by("node")),
        acknowledged=dict(acks.values_list("proxy", "generation")),
        events=list(Event.objects.filter(rollout=rollout)[:EVENTS]),
        worker_at=beat.at if beat else None,
        seen=seen,
        figures=figures_of(buckets, seen),
    )


def _window(rollout: Rollout, newest: bool, route: Route | None, now: datetime) -> Window:
    """The last 60 s; of a rollout that others followed, the last 60 s before it ended."""
    if newest or rollout.finished_at is None:
        return window(now.timestamp(), changed_at(route))
    return window(rollout.finished_at.timestamp(), None)
