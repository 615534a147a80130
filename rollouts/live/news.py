"""What every subscribed topic looks like now: read from the database in a dozen small queries.

Called by the hub, off the event loop. ``revision`` is a fingerprint of all that a page draws from
the rows, so a page fetches its parts again when, and only when, something visible changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from django.db.models import F, Max

from rollouts.domain.state import Phase
from rollouts.live.figures import (
    Figures,
    changed_at,
    fails_unnamed,
    figures_of,
    judge,
    of_version,
    window,
)
from rollouts.live.pill import IDLE, Pill, pill_of
from rollouts.live.points import LOOK_BACK_S, Pair, Point, Weights, points
from rollouts.live.topics import numbers
from rollouts.models import (
    Acknowledgement,
    Build,
    Event,
    Heartbeat,
    Proxy,
    Rollout,
    Route,
    Sample,
    Service,
    Stack,
    StackEvent,
    Task,
    TrafficBucket,
    Version,
)

STUCK_S = 30.0  # a rollback that is not confirmed for so long needs a person
WORKER_LATE_S = 5.0
SAMPLES_A_SECOND = 5
SAMPLES_AT_MOST = 80
RECENT_S = 12  # points this young may still change: a bucket is written after its second
REPLAY_S = 900
_SECONDS = re.compile(r"\d+ s\b")


@dataclass(frozen=True)
class State:
    """A topic as the stream tells it. ``cur``: number of the plan's step, 0 before the first."""

    revision: str
    label: str
    status: str
    cur: int = 0

    def body(self, topic: str) -> dict[str, Any]:
        return {
            "topic": topic,
            "revision": self.revision,
            "label": self.label,
            "status": self.status,
            "cur": self.cur,
        }


@dataclass
class World:
    """The rows behind the subscribed rollouts and services, by service pk."""

    now: float
    services: Mapping[int, Service]
    rollouts: Mapping[int, Rollout]
    newest: Mapping[int, Rollout]
    routes: dict[int, list[Route]] = field(default_factory=dict)
    buckets: dict[int, list[TrafficBucket]] = field(default_factory=dict)
    prints: dict[int, list[Any]] = field(default_factory=dict)
    worker_late: bool = False

    def route(self, service: int) -> Route | None:
        """The weights that should be in force."""
        return max(self.routes.get(service, ()), key=lambda r: r.generation, default=None)

    def pair(self, service: int) -> Pair:
        newest = self.newest.get(service)
        if newest is None:
            return Pair(None, self.services[service].stable_id)
        return Pair(newest.to_version_id, newest.from_version_id)

    def figures(self, service: int) -> Mapping[int | None, Figures]:
        seen = window(self.now, changed_at(self.route(service)))
        return figures_of(self.buckets.get(service, ()), seen)

    def points(self, service: int, first: int) -> list[Point]:
        """Points from second ``first`` up to the last whole second."""
        weights = Weights.of(self.routes.get(service, ()))
        rows = self.buckets.get(service, ())
        return points(rows, weights, self.pair(service), first, int(self.now) - 1)


def read_world(topics: frozenset[str], now: float, back_s: int = 60) -> World:
    """Load what the rollout and service topics need; ``back_s`` seconds of buckets."""
    rollouts = Rollout.objects.filter(pk__in=numbers(topics, "rollout"))
    by_pk = {r.pk: r for r in rollouts.select_related("from_version", "to_version")}
    wanted = {*numbers(topics, "service"), *(r.service_id for r in by_pk.values())}
    services = {s.pk: s for s in Service.objects.filter(pk__in=wanted)}
    newest = _newest(services)
    world = World(now, services, by_pk, newest)
    if services:
        _load(world, now, back_s)
    return world


def _newest(services: Mapping[int, Service]) -> dict[int, Rollout]:
    last = Rollout.objects.filter(service__in=services).values("service").annotate(last=Max("pk"))
    found = Rollout.objects.filter(pk__in=[row["last"] for row in last])
    return {r.service_id: r for r in found.select_related("from_version", "to_version")}


def _load(world: World, now: float, back_s: int) -> None:
    pks = list(world.services)
    first = int(now) - max(back_s, 60) - LOOK_BACK_S
    for bucket in TrafficBucket.objects.filter(service__in=pks).between(first, int(now)):
        world.buckets.setdefault(bucket.service_id, []).append(bucket)
    # Every route that can be in force in the window: the newest older one is the start.
    for route in Route.objects.filter(
        service__in=pks, generation__gte=F("service__generation") - 120
    ):
        world.routes.setdefault(route.service_id, []).append(route)
    for pk, row in _rows(world.services):
        world.prints.setdefault(pk, []).append(row)
    beat = Heartbeat.objects.filter(name="worker").first()
    world.worker_late = beat is None or now - beat.at.timestamp() > WORKER_LATE_S


def _rows(services: Mapping[int, Service]) -> Iterable[tuple[int, Any]]:
    """Everything a page shows of a service's versions, tasks, proxies and log, as plain values."""
    pks = list(services)
    of = {"service__in": pks}
    versions = Version.objects.filter(**of)
    for row in versions.values_list("service", "pk", "label", "count", "keep"):
        yield row[0], row
    for timers in versions.values_list("service", "pk", "retire_left", "drain_left"):
        yield timers[0], (timers[1], timers[2] is None, timers[3] is None)
    tasks = Task.objects.filter(**of)
    for task in tasks.values_list("service", "pk", "state", "healthy", "reason", "port"):
        yield task[0], task
    for ack in Acknowledgement.objects.filter(**of).values_list("service", "proxy", "generation"):
        yield ack[0], ack
    for event in Event.objects.filter(**of).values("service").annotate(last=Max("pk")):
        yield event["service"], event["last"]
    proxies = list(Proxy.objects.values_list("mesh", "node", "connected", "nack"))
    for service in services.values():
        yield service.pk, [row for row in proxies if row[0] == service.mesh_id]


def state_of_rollout(world: World, rollout: Rollout) -> State:
    service = world.services[rollout.service_id]
    route = world.route(service.pk)
    pill = pill_of(
        rollout,
        weight=service.weight_of(rollout.to_version_id),
        stuck=is_stuck(rollout, route, world.now),
    )
    late = rollout.is_live and world.worker_late
    columns = (rollout.revision, rollout.phase, rollout.step, rollout.stage, rollout.paused, late)
    seen = _print(world, service, [columns, rollout.reason, pill])
    return State(seen, pill.label, pill.kind, rollout.step + 1)


def is_stuck(rollout: Rollout, route: Route | None, now: float) -> bool:
    """Rolling back, and some proxy has not confirmed it for ``STUCK_S`` seconds."""
    if rollout.phase != Phase.ROLLING_BACK or route is None or route.confirmed_at is not None:
        return False
    return now - route.at.timestamp() > STUCK_S


def state_of_service(world: World, service: Service) -> State:
    newest = world.newest.get(service.pk)
    if newest is None or not newest.is_live:
        kind = Pill("stuck", "Needs you") if service.alarm else IDLE
        return State(_print(world, service, [newest and newest.revision]), kind.label, kind.kind)
    state = state_of_rollout(world, newest)
    return State(_print(world, service, [state.revision]), state.label, state.status, state.cur)


def _print(world: World, service: Service, more: list[Any]) -> str:
    route = world.route(service.pk)
    pair = world.pair(service.pk)
    figures = world.figures(service.pk)
    new, old = (None if v is None else of_version(v, figures) for v in (pair.new, pair.old))
    row = (
        service.generation,
        service.weights,
        route is not None and route.confirmed_at is not None,
        service.alarm,
        _SECONDS.sub("", service.waiting),
        _SECONDS.sub("", service.trouble),  # a growing number of seconds is not news
        service.stable_id,
        service.automatic_deploys,
        service.tasks,
        judge(new, old),
        fails_unnamed(figures),
        bool(figures),
    )
    return fingerprint([row, world.prints.get(service.pk), *more])


def fingerprint(values: object) -> str:
    return f"{crc32(repr(values).encode()):08x}"


def state_of_services() -> State:
    """The list of all services: changes with any of them."""
    services = Service.objects.values_list(
        "pk", "slug", "generation", "alarm", "stable", "automatic_deploys", "tasks"
    )
    live = Rollout.objects.live().values_list("pk", "revision", "phase", "step", "stage", "paused")
    newest = Rollout.objects.aggregate(last=Max("pk"))["last"]
    return State(fingerprint([list(services), list(live), newest]), "Services", "idle")


STACK_KINDS = {
    "absent": "idle",
    "proposing": "progress",
    "proposed": "waiting",
    "creating": "progress",
    "updating": "progress",
    "ready": "succeeded",
    "deleting": "rolling",
    "failed": "failed",
}


def states_of_stacks(pks: list[int]) -> dict[str, State]:
    stacks = Stack.objects.filter(pk__in=pks)
    lines = StackEvent.objects.filter(stack__in=stacks).values("stack").annotate(last=Max("pk"))
    last = {row["stack"]: row["last"] for row in lines}
    return {f"stack-{s.pk}": _stack_state(s, last.get(s.pk)) for s in stacks}


COUNTED = ("creating", "updating", "deleting")


def _stack_state(stack: Stack, last: int | None) -> State:
    counts = f", {stack.done} of {stack.total}" if stack.phase in COUNTED else ""
    seen = fingerprint(
        [
            *(stack.phase, stack.wanted, stack.step, stack.done, stack.total, stack.reason, last),
            *(stack.drift_requested_at, stack.drift_at, stack.attempt),
        ]
    )
    return State(seen, stack.get_phase_display() + counts, STACK_KINDS.get(stack.phase, "idle"))


BUILD_KINDS = {"succeeded": "succeeded", "failed": "failed", "cancelled": "idle"}


def states_of_builds(pks: list[int]) -> dict[str, State]:
    """Builds of images: they change with every line of their log."""
    builds = Build.objects.filter(pk__in=pks).annotate(last=Max("lines__number"))
    return {f"build-{build.pk}": _build_state(build) for build in builds.defer("archive")}


def _build_state(build: Any) -> State:
    seen = fingerprint([build.phase, build.cancelled, build.reason, build.last])
    return State(seen, build.get_phase_display(), BUILD_KINDS.get(build.phase, "progress"))


def samples_after(service: int, after: int | None) -> tuple[list[Sample], int]:
    """Requests newer than pk ``after`` (None: none yet), oldest first, and the new pk.

    At most five good ones; errors are never left out, up to what a page can show.
    """
    rows = Sample.objects.filter(service=service)
    if after is None:
        newest = rows.first()
        return [], newest.pk if newest else 0
    found = list(rows.filter(pk__gt=after)[: SAMPLES_AT_MOST * 5])
    good = [s for s in found if s.ok][:SAMPLES_A_SECOND]
    bad = [s for s in found if not s.ok][:SAMPLES_AT_MOST]
    kept = sorted(good + bad, key=lambda s: s.pk)
    return kept, found[0].pk if found else after
