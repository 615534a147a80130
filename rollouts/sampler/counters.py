"""Counts all traffic of each version, from the counters of the mesh's own Envoys.

Called by ``loop`` once a second. What is counted is the *caller's* request, once, at its final
answer: for gRPC the ``grpc_stats`` counters (to the plain ones a failed call is a 200), for HTTP
``upstream_rq_<n>xx``, where 5xx is an error. An attempt that Envoy repeated is not counted (it is
in ``retry.upstream_rq_*``). Latency is ``upstream_rq_time``: one per answered attempt, whole
milliseconds, moved by Envoy at each ``stats_flush_interval``; so it may lag the counters by one
second, and its total may differ from theirs.

The first reading of an Envoy is only a starting point; after its restart everything is new. What it
counted between the last reading and its end is lost with it.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from rollouts.domain.traffic import Tally
from rollouts.sampler.addresses import AddressRefused, target_of
from rollouts.sampler.probe import Answer, Probe

log = logging.getLogger(__name__)

ANSWER_BYTES = 16 * 1024 * 1024
TIMEOUT_S = 0.8
FILTER = (
    r"^cluster\.[a-z0-9-]%2B--[0-9]%2B\."
    r"(upstream_rq_(time|[1-5]xx)|grpc\..*\.(success|failure))$|^server\.uptime$"
)
PATH = f"/stats?format=json&usedonly&histogram_buckets=detailed&filter={FILTER}"
_NAME = re.compile(r"cluster\.([a-z0-9-]+--[0-9]+)\.(.+)")
_HTTP = re.compile(r"upstream_rq_([1-5])xx")
_MOST = 2**31 - 1  # what a bucket's column holds; no Envoy answers that many in a second


class Unreadable(Exception):
    pass


@dataclass
class Count:
    """Counters of one cluster since its Envoy started. ``times``: milliseconds → answers."""

    http: int = 0
    http_errors: int = 0
    grpc: int = 0
    grpc_errors: int = 0
    times: dict[float, int] = field(default_factory=dict)

    def since(self, before: Count) -> Count:
        """What was added after ``before``; everything, when a counter went back (a restart)."""
        if self.http < before.http or self.grpc < before.grpc:
            return self
        times = {ms: n - before.times.get(ms, 0) for ms, n in self.times.items()}
        return Count(
            self.http - before.http,
            max(0, self.http_errors - before.http_errors),
            self.grpc - before.grpc,
            max(0, self.grpc_errors - before.grpc_errors),
            # The histogram restarts with the counters, but is moved at the next flush only.
            {ms: n for ms, n in times.items() if n > 0},
        )

    def tally(self, protocol: str) -> Tally:
        """As TrafficBucket stores it; ``protocol`` is "grpc" or "http"."""
        if protocol == "grpc":
            tally = Tally(min(self.grpc, _MOST), min(self.grpc_errors, _MOST))
        else:
            tally = Tally(min(self.http, _MOST), min(self.http_errors, _MOST))
        for ms, times in self.times.items():
            tally.latency.record(ms, times)
        return tally


@dataclass
class Reading:
    """One answer of an Envoy: counts by cluster, and for how many whole seconds it has run."""

    counts: dict[str, Count] = field(default_factory=dict)
    uptime_s: int | None = None


def parse(text: str) -> Reading:
    """From the JSON of Envoy's ``/stats``. Pure. Raises Unreadable."""
    reading = Reading()
    try:
        for stat in json.loads(text)["stats"]:
            if "histograms" in stat:
                for row in stat["histograms"]["details"]:
                    _add_times(reading.counts, row["name"], row["totals"])
            elif stat["name"] == "server.uptime":
                reading.uptime_s = _whole(stat["value"])
            else:
                _add_counter(reading.counts, stat["name"], _whole(stat["value"]))
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
        raise Unreadable(f"not the statistics of an Envoy: {error!r}") from None
    return reading


def _whole(value: float) -> int:
    if not 0 <= value < math.inf:
        raise ValueError(f"{value!r} is not a count")
    return int(value)


def _add_counter(counts: dict[str, Count], name: str, value: int) -> None:
    if not (found := _NAME.fullmatch(name)):
        return
    cluster, rest = found.groups()
    count = counts.setdefault(cluster, Count())
    if http := _HTTP.fullmatch(rest):
        # 1xx precedes the final answer of the same request.
        count.http += value if http[1] != "1" else 0
        count.http_errors += value if http[1] == "5" else 0
    elif rest.startswith("grpc."):
        # "success" and "failure", not "total": that one counts calls that are still running.
        count.grpc += value if rest.endswith((".success", ".failure")) else 0
        count.grpc_errors += value if rest.endswith(".failure") else 0


def _add_times(counts: dict[str, Count], name: str, totals: list[Mapping[str, float]]) -> None:
    found = _NAME.fullmatch(name)
    if not found or found[2] != "upstream_rq_time":
        return
    times = counts.setdefault(found[1], Count()).times
    for bar in totals:
        # Envoy cut the fraction off: what it calls 3 was between 3 and 4.
        middle = _whole(bar["lower_bound"]) + max(1.0, _whole(bar["width"])) / 2
        times[middle] = times.get(middle, 0) + _whole(bar["count"])


class Counters:
    """One Envoy's counters, read again and again."""

    def __init__(self, address: str) -> None:
        """Raises AddressRefused when "host:port" is not an address that a mesh may have."""
        self.address = address
        self._probe = Probe(target_of(f"http://{address}", PATH), TIMEOUT_S, ANSWER_BYTES)
        self._before: dict[str, Count] | None = None
        self._connected, self._read_at, self._uptime_s = 0, 0.0, 0
        self._complained = False

    async def added(self) -> dict[str, Count]:
        """What each cluster has counted since the last call; empty when Envoy does not answer."""
        asked_at = time.monotonic()
        answer = await self._probe.get()
        try:
            reading = parse(_text(answer))
        except Unreadable as problem:
            self._complain(str(problem))
            return {}
        self._complained = False
        before, self._before = self._before, reading.counts
        if before is not None and self._restarted(reading.uptime_s):
            log.info("%s: this Envoy has restarted; everything it counts is new.", self.address)
            before = {}
        self._connected, self._read_at = self._probe.connected, asked_at
        self._uptime_s = reading.uptime_s or 0
        if before is None:
            return {}
        return {
            name: count.since(before.get(name, Count())) for name, count in reading.counts.items()
        }

    def _restarted(self, uptime_s: int | None) -> bool:
        # A kept connection is the same process for certain. On another connection a new process is
        # younger than the last reading. Envoy moves this number once a second only: one that was
        # stopped for a while and goes on may still say what it said before.
        if self._probe.connected == self._connected or uptime_s is None:
            return False
        young = uptime_s < time.monotonic() - self._read_at
        return young and uptime_s not in (self._uptime_s, self._uptime_s + 1)

    def _complain(self, problem: str) -> None:
        if not self._complained:
            log.warning("%s: no counters: %s", self.address, problem)
        self._complained = True

    def close(self) -> None:
        self._probe.close()


def _text(answer: Answer) -> str:
    if answer.status != "200":
        raise Unreadable(answer.status)
    return answer.body.decode("utf-8", "replace")


def counters_of(address: str) -> Counters | None:
    """None, and a line in the log, for an address that the policy refuses."""
    try:
        return Counters(address)
    except AddressRefused as refused:
        log.warning("%s: no counters: %s", address, refused)
        return None
