"""Arithmetic on requests: mergeable latency histograms and tallies. Pure.

Filled by the sampler, read by pages and, later, gates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

# Upper bounds grow by 4 %: a percentile read from a bucket is at most 2 % from the true value,
# and two histograms are merged by adding counts.
_GROWTH = math.log(1.04)
_LEAST_MS = 0.01


def bucket_of(ms: float) -> int:
    """Number of the bucket that holds ``ms`` milliseconds; 0 for everything up to 0.01 ms."""
    return 0 if ms <= _LEAST_MS else math.ceil(math.log(ms / _LEAST_MS) / _GROWTH)


def middle_of(bucket: int) -> float:
    """The latency, in milliseconds, that stands for every one in the bucket."""
    return _LEAST_MS if bucket == 0 else _LEAST_MS * math.exp((bucket - 0.5) * _GROWTH)


@dataclass
class Histogram:
    """Latencies in milliseconds as counts per bucket; ``to_json`` is what TrafficBucket stores."""

    counts: dict[int, int] = field(default_factory=dict)

    def record(self, ms: float, times: int = 1) -> None:
        bucket = bucket_of(ms)
        self.counts[bucket] = self.counts.get(bucket, 0) + times

    def merge(self, other: Histogram) -> None:
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def percentile(self, share: float) -> float | None:
        """Milliseconds below which ``share`` (0–1) of the latencies lie; None without any."""
        rank = max(1, math.ceil(share * self.total))
        seen = 0
        for bucket, count in sorted(self.counts.items()):
            seen += count
            if seen >= rank:
                return middle_of(bucket)
        return None

    def to_json(self) -> dict[str, int]:
        return {str(bucket): count for bucket, count in sorted(self.counts.items())}

    @classmethod
    def from_json(cls, row: Mapping[str, int]) -> Histogram:
        return cls({int(bucket): count for bucket, count in row.items()})


@dataclass
class Tally:
    """Requests, errors and latencies of one version over some seconds."""

    requests: int = 0
    errors: int = 0
    latency: Histogram = field(default_factory=Histogram)

    def add(self, other: Tally) -> None:
        self.requests += other.requests
        self.errors += other.errors
        self.latency.merge(other.latency)

    @property
    def success(self) -> float | None:
        """Percent of requests that succeeded; None without requests: silence is never a pass."""
        return None if not self.requests else 100.0 * (1 - self.errors / self.requests)

    def p(self, share: float) -> float | None:
        return self.latency.percentile(share)


def share(part: int, others: Iterable[int]) -> float | None:
    """Percent of all requests that ``part`` is; None without requests."""
    total = part + sum(others)
    return None if not total else 100.0 * part / total


def margin(percent: float, requests: int) -> float:
    """Half width of the 95 % interval of an observed share, in percentage points."""
    p = percent / 100
    return 196.0 * math.sqrt(max(p * (1 - p), 1e-9) / requests) if requests else 100.0
