"""What the sampler and the proxies counted, by version, over the last seconds.

Used by the board and by the stream, so that page and updates cannot contradict each other.
Silence is None, never 0 % and never a pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rollouts.domain.traffic import Histogram, Tally, share
from rollouts.models import Route, TrafficBucket

WINDOW_S = 60
Z_CERTAIN = 2.58  # 99 of 100: a difference in success that chance does not explain
MIN_REQUESTS = 30


@dataclass(frozen=True)
class Window:
    """Whole seconds ``first`` to ``last`` (Unix time), both included; empty when last < first."""

    first: int
    last: int

    @property
    def seconds(self) -> int:
        return max(0, self.last - self.first + 1)


@dataclass(frozen=True)
class Figures:
    """One version over a window. Percent, milliseconds, requests a second; None: not observed.

    ``observed`` share and ``success`` and ``p95_ms`` are what the sampler saw, ``rate`` is all
    traffic as the proxies counted it.
    """

    version: int | None
    requests: int
    errors: int
    observed: float | None
    success: float | None
    p95_ms: float | None
    rate: float | None


def window(now: float, changed: float | None) -> Window:
    """The last 60 s, but never across the last change of weights (``changed``, Unix time).

    The present second is not over and the second of the change is mixed: both are left out.
    """
    last = math.floor(now) - 1
    first = last - WINDOW_S + 1
    if changed is not None:
        first = max(first, math.floor(changed) + 1)
    return Window(first, last)


def changed_at(route: Route | None) -> float | None:
    """When the present weights came into force: confirmed, else stored; Unix time."""
    if route is None:
        return None
    return (route.confirmed_at or route.at).timestamp()


def tally_of(bucket: TrafficBucket) -> Tally:
    return Tally(bucket.requests, bucket.errors, Histogram.from_json(bucket.latency))


def figures_of(buckets: Iterable[TrafficBucket], seen: Window) -> Mapping[int | None, Figures]:
    """Figures by version pk; key None: answers that named no version."""
    sampled: dict[int | None, Tally] = {}
    counted: dict[int | None, int] = {}
    for bucket in buckets:
        if not seen.first <= bucket.second <= seen.last:
            continue
        if bucket.source == TrafficBucket.SAMPLER:
            sampled.setdefault(bucket.version_id, Tally()).add(tally_of(bucket))
        else:
            counted[bucket.version_id] = counted.get(bucket.version_id, 0) + bucket.requests
    return {key: _figures(key, sampled, counted, seen) for key in sampled.keys() | counted.keys()}


def _figures(
    key: int | None,
    sampled: Mapping[int | None, Tally],
    counted: Mapping[int | None, int],
    w: Window,
) -> Figures:
    tally = sampled.get(key, Tally())
    others = [t.requests for other, t in sampled.items() if other not in (key, None)]
    rate = counted.get(key, 0) / w.seconds if counted and w.seconds else None
    return Figures(
        version=key,
        requests=tally.requests,
        errors=tally.errors,
        observed=None if key is None else share(tally.requests, others),
        success=tally.success,
        p95_ms=tally.p(0.95),
        rate=rate,
    )


def silent(version: int, figures: Mapping[int | None, Figures]) -> Figures:
    """Figures of a version without a single request: 0 % only when others had requests."""
    total = any(f.requests for key, f in figures.items() if key is not None)
    counted = any(f.rate is not None for f in figures.values())
    return Figures(version, 0, 0, 0.0 if total else None, None, None, 0.0 if counted else None)


def of_version(version: int, figures: Mapping[int | None, Figures]) -> Figures:
    return figures.get(version) or silent(version, figures)


def fails_unnamed(figures: Mapping[int | None, Figures]) -> bool:
    """Do errors that name no version make up more than 5 % of the sample (5 at least)?

    An answer that never reached a version cannot name one; whose it was, only the proxies know.
    """
    unnamed = figures.get(None)
    total = sum(f.requests for f in figures.values())
    return unnamed is not None and unnamed.errors >= max(5, 0.05 * total)


def judge(new: Figures | None, old: Figures | None) -> str:
    """Is the new version worse than the old? ``unknown``, ``same``, ``fails`` or ``slow``."""
    if new is None or new.requests < MIN_REQUESTS:
        return "unknown"
    if old is None or old.requests < MIN_REQUESTS:
        return "fails" if new.success is not None and new.success < 95 else "unknown"
    if _fails_more(new, old):
        return "fails"
    if new.p95_ms and old.p95_ms and new.p95_ms > old.p95_ms * 1.5 + 20:
        return "slow"
    return "same"


def _fails_more(new: Figures, old: Figures) -> bool:
    """Two-proportion test, one side."""
    pooled = (new.errors + old.errors) / (new.requests + old.requests)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / new.requests + 1 / old.requests))
    gap = new.errors / new.requests - old.errors / old.requests
    return spread > 0 and gap / spread > Z_CERTAIN
