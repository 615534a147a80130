"""Asks one service on an open-loop schedule and records what a caller would have seen.

Owned by ``loop``. A request is due at start + n/rate, whatever became of the earlier ones, and its
latency counts from then: a server that stands still is charged for every request that should have
been made meanwhile. It never touches the database.
"""

from __future__ import annotations

import asyncio
import logging
import math
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

Report = Callable[[Row], None]


class Watch:
    """Runs from ``start`` to ``stop``; ``record`` gets one Row per request that was due.

    ``note`` gets a Row that tells of no request. ``broken`` gets an error that nobody foresaw:
    the owner must end loudly, for from then on requests may be missing.
    """

    def __init__(
        self,
        wanted: Wanted,
        record: Report,
        *,
        note: Report,
        broken: Callable[[BaseException], None],
    ) -> None:
        self.wanted = wanted
        self.labels: dict[str, int] = {}
        self.unanswered = 0  # requests in flight that `stop` gave up
        self._record, self._tell, self._broken = record, note, broken
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
        self._unheard_at = -math.inf  # loop time of the newest answer that our standstill cost

    @property
    def busy(self) -> bool:
        """Requests are still in flight."""
        return bool(self._running)

    def start(self) -> None:
        self._schedule = asyncio.get_running_loop().create_task(self._run())
        self._schedule.add_done_callback(self._ended)

    def retire(self) -> None:
        """Ask nothing more; what is in flight is still recorded."""
        if self._schedule is not None:
            self._schedule.cancel()

    async def stop(self, grace_s: float) -> None:
        """Ask nothing more, and give what is in flight ``grace_s`` seconds to be recorded."""
        self.retire()
        if self._running:
            await asyncio.wait(self._running, timeout=grace_s)
        self.unanswered = sum(not task.done() for task in self._running)
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        if self.unanswered:
            log.info("%s: ended without %d answers", self.wanted.slug, self.unanswered)
        if self._probe is not None:
            self._probe.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken(error)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        first, n = loop.time(), 0
        while True:
            due = first + n / self.wanted.rate
            late = loop.time() - due
            if late > STOOD_STILL_S:
                missed = int(late * self.wanted.rate)
                self._note_gap(due, f"for {late:.1f} s: {missed} requests were not sent")
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
        task.add_done_callback(self._ended)

    async def _ask(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        if self._probe is None:
            self._note(due, Answer("forbidden", self._problem.encode()), 0.0)
            return
        # The whole time-out, also when we are late: our delay is no reason to call it an error.
        sent = loop.time()
        answer = await self._probe.get()
        now = loop.time()
        if answer.status == "time-out" and now - sent > self.wanted.timeout_s + STOOD_STILL_S:
            if now - self._unheard_at > STOOD_STILL_S:  # One row, however many there were.
                self._note_gap(due, "while it waited for answers")
            self._unheard_at = now
            return
        self._note(due, answer, now - due)

    def _note_gap(self, due: float, what: str) -> None:
        """Say what the sampler's own standstill left out. No error: the service was not asked."""
        sentence = f"The sampler stood still {what}."
        log.warning("%s: %s", self.wanted.slug, sentence)
        at = self._wall(due)
        self._tell(Row(self.wanted.pk, None, at, True, "not sampled", 0.0, sentence))

    def _wall(self, due: float) -> float:
        return time.time() - (asyncio.get_running_loop().time() - due)

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
                at=self._wall(due),
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
