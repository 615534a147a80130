"""The chart's points: desired and observed share, success and p95, second by second.

Used by the chart, its SVG and the stream. A point looks back ``LOOK_BACK_S`` seconds, because a
sampler of ten requests a second says little in one, but never across a change of weights. A second
with no request in it or the two before is a gap.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rollouts.domain.traffic import Histogram, Tally, share
from rollouts.live.figures import tally_of
from rollouts.models import Route, TrafficBucket

LOOK_BACK_S = 10
GAP_S = 3


@dataclass(frozen=True)
class Point:
    """Percent and milliseconds at second ``t``; ``new_``/``old_`` by version; None: a gap."""

    t: int
    desired: int | None
    observed: float | None
    new_success: float | None
    old_success: float | None
    new_p95: float | None
    old_p95: float | None

    def row(self) -> list[float | int | None]:
        return [
            self.t,
            self.desired,
            _round(self.observed, 1),
            _round(self.new_success, 2),
            _round(self.old_success, 2),
            _round(self.new_p95, 1),
            _round(self.old_p95, 1),
        ]


def _round(value: float | None, places: int) -> float | None:
    return None if value is None else round(value, places)


@dataclass(frozen=True)
class Pair:
    """The two versions a chart compares, as pks."""

    new: int | None
    old: int | None


@dataclass(frozen=True)
class Weights:
    """The desired weights over time. ``times`` ascending (Unix); ``cuts``: stored or confirmed."""

    times: Sequence[float]
    weights: Sequence[Mapping[str, int]]
    cuts: Sequence[int]

    @classmethod
    def of(cls, routes: Iterable[Route]) -> Weights:
        rows = sorted(routes, key=lambda route: route.generation)
        moments = [m for r in rows for m in (r.at, r.confirmed_at) if m is not None]
        return cls(
            [r.at.timestamp() for r in rows],
            [r.weights for r in rows],
            sorted(math.ceil(m.timestamp()) for m in moments),
        )

    def desired(self, t: int, version: int | None) -> int | None:
        """Percent that should go to the version at the end of second ``t``; None before any."""
        at = bisect_right(self.times, t + 1) - 1
        if at < 0 or version is None:
            return None
        return int(self.weights[at].get(str(version), 0))

    def since(self, t: int) -> int:
        """First whole second of the unbroken stretch of weights that ``t`` is in."""
        at = bisect_right(self.cuts, t) - 1
        return self.cuts[at] if at >= 0 else 0


@dataclass
class _Rolling:
    """A sum of the last seconds' tallies."""

    seconds: deque[tuple[int, Tally]] = field(default_factory=deque)
    total: Tally = field(default_factory=Tally)

    def push(self, t: int, tally: Tally, since: int) -> None:
        self.seconds.append((t, tally))
        self.total.add(tally)
        while self.seconds and self.seconds[0][0] < since:
            self._drop(self.seconds.popleft()[1])

    def _drop(self, tally: Tally) -> None:
        counts = self.total.latency.counts
        for bucket, count in tally.latency.counts.items():
            counts[bucket] -= count
            if not counts[bucket]:
                del counts[bucket]
        self.total = Tally(
            self.total.requests - tally.requests,
            self.total.errors - tally.errors,
            Histogram(counts),
        )

    def recent(self, t: int) -> bool:
        return any(s > t - GAP_S and tally.requests for s, tally in reversed(self.seconds))


def points(
    buckets: Iterable[TrafficBucket], weights: Weights, pair: Pair, first: int, last: int
) -> list[Point]:
    """Points of the seconds ``first`` to ``last``; buckets from ``first`` − 9 on give the start."""
    by_second: dict[int, dict[int, Tally]] = {}
    for bucket in buckets:
        if bucket.source == TrafficBucket.SAMPLER and bucket.version_id is not None:
            by_second.setdefault(bucket.second, {})[bucket.version_id] = tally_of(bucket)
    rolling: dict[int, _Rolling] = {v: _Rolling() for v in _versions(by_second, pair)}
    made = []
    for t in range(first - LOOK_BACK_S + 1, last + 1):
        # In the very second of a change the old and the new weights are mixed: it stands alone.
        since = max(t - LOOK_BACK_S + 1, min(t, weights.since(t)))
        for version, sums in rolling.items():
            sums.push(t, by_second.get(t, {}).get(version, Tally()), since)
        if t >= first:
            made.append(_point(t, weights.desired(t, pair.new), rolling, pair))
    return made


def _versions(by_second: Mapping[int, Mapping[int, Tally]], pair: Pair) -> set[int]:
    named = {v for tallies in by_second.values() for v in tallies}
    return named | {v for v in (pair.new, pair.old) if v is not None}


def _point(t: int, desired: int | None, rolling: Mapping[int, _Rolling], pair: Pair) -> Point:
    new, old = rolling.get(pair.new or 0), rolling.get(pair.old or 0)
    observed = None
    if new is not None and any(sums.recent(t) for sums in rolling.values()):
        others = [s.total.requests for s in rolling.values() if s is not new]
        observed = share(new.total.requests, others)
    success = [s.total.success if s and s.recent(t) else None for s in (new, old)]
    p95 = [s.total.p(0.95) if s and s.recent(t) else None for s in (new, old)]
    return Point(t, desired, observed, success[0], success[1], p95[0], p95[1])
