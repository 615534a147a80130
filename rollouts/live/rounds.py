"""One round of the hub: read the world once, make the frames of every subscribed topic once.

Runs in the hub's own thread; keeps what was already told, so that a page gets only what is new.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rollouts.domain.state import Phase
from rollouts.live import news
from rollouts.live.figures import Figures, changed_at, of_version, window
from rollouts.live.frames import frame
from rollouts.live.topics import key_of, numbers
from rollouts.models import Sample


@dataclass
class Round:
    """Frames by topic and the state of each, made at ``now`` (Unix time) with one number."""

    now: float
    number: int
    states: dict[str, news.State] = field(default_factory=dict)
    frames: dict[str, bytes] = field(default_factory=dict)

    def add(self, topic: str, event: str, body: dict[str, Any]) -> None:
        made = frame(event, {"topic": topic, **body}, self.number)
        self.frames[topic] = self.frames.get(topic, b"") + made

    def beat(self, topics: frozenset[str]) -> bytes:
        revisions = {t: self.states[t].revision for t in sorted(topics) if t in self.states}
        return frame("beat", {"now": round(self.now, 3), "topics": revisions}, self.number)


class Teller:
    """Remembers what was told. One per hub; used from one thread."""

    def __init__(self) -> None:
        self._number = 0
        self._revisions: dict[str, str] = {}
        self._points: dict[str, dict[int, list[float | int | None]]] = {}
        self._samples: dict[int, int] = {}

    def number(self, now: float) -> int:
        """Milliseconds since 1970, but always greater than the last: numbers only grow."""
        self._number = max(self._number + 1, int(now * 1000))
        return self._number

    def tell(self, topics: frozenset[str], now: float, *, second: bool) -> Round:
        """What changed since the last round; with ``second`` also figures, points and samples."""
        made = Round(now, self.number(now))
        world = news.read_world(topics, now)
        made.states = _states(topics, world)
        for topic, state in made.states.items():
            if self._revisions.get(topic) != state.revision:
                self._revisions[topic] = state.revision
                made.add(topic, "changed", state.body(topic))
        if second:
            self._tell_traffic(made, world)
        self._forget(topics)
        return made

    def greet(self, topics: frozenset[str], now: float, seen: int | None) -> bytes:
        """For one new viewer: the states, and the points since event ``seen`` (15 min at most)."""
        made = Round(now, self.number(now))
        first = int(now) - news.RECENT_S
        if seen is not None:
            first = max(int(now) - news.REPLAY_S, min(first, seen // 1000 - news.RECENT_S))
        world = news.read_world(topics, now, back_s=int(now) - first)
        made.states = _states(topics, world)
        for topic, state in made.states.items():
            made.add(topic, "changed", state.body(topic))
            service = _drawn(topic, world)
            if service is not None and seen is not None:
                rows = [p.row() for p in world.points(service, first)]
                made.add(topic, "pt", {"p": rows})
        return b"".join(made.frames.get(t, b"") for t in sorted(topics)) + made.beat(topics)

    def _tell_traffic(self, made: Round, world: news.World) -> None:
        requests: dict[int, list[list[Any]]] = {}
        for topic in made.states:
            service = _drawn(topic, world)
            if service is None:
                continue
            fresh = self._fresh_points(topic, world, service)
            if fresh:
                made.add(topic, "pt", {"p": fresh})
            made.add(topic, "fig", _figures(world, service))
            if service not in requests:
                requests[service] = self._requests(service)
            if requests[service]:
                made.add(topic, "req", {"r": requests[service]})

    def _fresh_points(self, topic: str, world: news.World, service: int) -> list[Any]:
        """The young points that are new, or that a late bucket has changed."""
        told = self._points.get(topic, {})
        rows = {p.t: p.row() for p in world.points(service, int(world.now) - news.RECENT_S)}
        self._points[topic] = rows
        return [row for t, row in rows.items() if told.get(t) != row]

    def _requests(self, service: int) -> list[list[Any]]:
        rows, last = news.samples_after(service, self._samples.get(service))
        self._samples[service] = last
        return [sample_row(row) for row in rows]

    def _forget(self, topics: frozenset[str]) -> None:
        for known in (self._revisions, self._points):
            for topic in known.keys() - topics:
                del known[topic]


def sample_row(row: Sample) -> list[Any]:
    """pk, Unix time, version pk, ok, status, milliseconds, message."""
    latency = round(row.latency_ms, 1)
    return [
        row.pk,
        round(row.at.timestamp(), 3),
        row.version_id,
        row.ok,
        row.status,
        latency,
        row.message,
    ]


def _states(topics: frozenset[str], world: news.World) -> dict[str, news.State]:
    states: dict[str, news.State] = {}
    for topic in sorted(topics):
        kind, key = key_of(topic)
        if kind == "rollout" and (rollout := world.rollouts.get(int(key))):
            states[topic] = news.state_of_rollout(world, rollout)
        elif kind == "service" and (service := world.services.get(int(key))):
            states[topic] = news.state_of_service(world, service)
        elif kind == "services":
            states[topic] = news.state_of_services()
    stacks, builds = numbers(topics, "stack"), numbers(topics, "build")
    states |= news.states_of_stacks(stacks) if stacks else {}
    return states | (news.states_of_builds(builds) if builds else {})


def _drawn(topic: str, world: news.World) -> int | None:
    """Service pk of a topic with live figures: a service, or the newest rollout of one."""
    kind, key = key_of(topic)
    if kind == "service":
        return int(key) if int(key) in world.services else None
    if kind != "rollout" or int(key) not in world.rollouts:
        return None
    rollout = world.rollouts[int(key)]
    newest = world.newest.get(rollout.service_id)
    over = rollout.finished_at is not None and rollout.phase != Phase.ROLLING_BACK
    old = over and rollout.finished_at.timestamp() < world.now - news.REPLAY_S  # type: ignore[union-attr]
    return None if newest != rollout or old else rollout.service_id


def _figures(world: news.World, service: int) -> dict[str, Any]:
    found = world.figures(service)
    pair = world.pair(service)
    shown = [v for v in dict.fromkeys([pair.new, pair.old, *found]) if v is not None]
    seen = window(world.now, changed_at(world.route(service)))
    return {"w": seen.seconds, "v": [_row(of_version(v, found)) for v in shown]}


def _row(f: Figures) -> list[Any]:
    return [f.version, f.observed, f.success, f.p95_ms, f.rate, f.requests, f.errors]
