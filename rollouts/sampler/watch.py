"""Asks one service on an open-loop schedule and records what a caller would have seen.

Owned by ``loop``. A request is due at start + n/rate, whatever became of the earlier ones, and its
latency counts from then: a server that stands still is charged for every request that should have
been made meanwhile. It never touches the database.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from rollouts.sampler.addresses import AddressRefused, target_of
from rollouts.sampler.ledger import Row, printable
from rollouts.sampler.probe import Answer, Probe
from rollouts.sampler.reading import Reader
from rollouts.sampler.store import LONGEST_TIMEOUT_S, Wanted

log = logging.getLogger(__name__)

# Later than this it was the sampler that stood still (stopped, machine asleep), not the service.
STOOD_STILL_S = 2.0
LEAST_IN_FLIGHT = 10


class Watch:
    """Runs from ``start`` to ``stop``; ``record`` gets one Row per request."""

    def __init__(self, wanted: Wanted, record: Callable[[Row], None]) -> None:
        self.wanted = wanted
        self.labels: dict[str, int] = {}
        self.slips: list[float] | None = None  # seconds from due to sent, when somebody measures
        self._record = record
        self._reader = Reader(wanted.pattern)
        self._problem = ""
        self._probe: Probe | None = None
        try:
            target = target_of(wanted.public_url, wanted.path)
            self._probe = Probe(target, wanted.timeout_s)
        except AddressRefused as refused:
            self._problem = str(refused)
        self._most = max(LEAST_IN_FLIGHT, round(LONGEST_TIMEOUT_S * wanted.rate))
        self._running: set[asyncio.Task[None]] = set()
        self._schedule: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._schedule = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Forget the requests in flight: nobody wants their answers any more."""
        tasks = [*self._running, *([self._schedule] if self._schedule else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._probe is not None:
            self._probe.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        first, n = loop.time(), 0
        while True:
            due = first + n / self.wanted.rate
            late = loop.time() - due
            if late > STOOD_STILL_S:
                log.warning(
                    "%s: the sampler stood still for %.1f s; nothing was sampled",
                    self.wanted.slug,
                    late,
                )
                first, n = loop.time(), 0
                continue
            if late < 0:
                await asyncio.sleep(-late)
            self._launch(due)
            n += 1

    def _launch(self, due: float) -> None:
        if len(self._running) >= self._most:
            # It would have waited at least as long as the ones before it do.
            self._note(due, Answer("saturated"), self.wanted.timeout_s)
            return
        task = asyncio.get_running_loop().create_task(self._ask(due))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _ask(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        if self._probe is None:
            self._note(due, Answer("forbidden", self._problem.encode()), 0.0)
            return
        late = loop.time() - due
        if self.slips is not None:
            self.slips.append(late)
        answer = await self._probe.get(max(0.001, self.wanted.timeout_s - late))
        self._note(due, answer, loop.time() - due)

    def _note(self, due: float, answer: Answer, latency_s: float) -> None:
        label = self._reader.label(answer.body) if answer.status.isdigit() else None
        ok, status = answer.ok, answer.status
        if ok and label is None and not self._reader.wants_nothing:
            ok, status = False, "unreadable"
        text = answer.body[:1500].decode("utf-8", "replace").strip()
        self._record(
            Row(
                service=self.wanted.pk,
                version=self.labels.get(label) if label is not None else None,
                at=time.time() - (asyncio.get_running_loop().time() - due),
                ok=ok,
                status=status,
                latency_ms=latency_s * 1000,
                message=printable(self._reader.problem or text or _SENTENCES.get(status, "")),
            )
        )


_SENTENCES = {
    "time-out": "No answer in time.",
    "refused": "Nobody listens at the public endpoint.",
    "reset": "The connection was closed before the answer was complete.",
    "too large": "The answer is larger than 64 KB.",
    "unreadable": "The answer names no version.",
    "saturated": "Too many requests are still waiting for an answer.",
}
