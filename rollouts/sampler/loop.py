"""The sampler's process: keeps a Watch per service, reads Envoy's counters, stores once a second.

Called by ``manage.py sampler`` only. Everything that touches the database runs in one writer
thread, so that a locked or unreachable database delays no request; what cannot be stored is kept
for 60 s (see ``ledger``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime

from django.db import InterfaceError, OperationalError, connection

from rollouts.models import TrafficBucket
from rollouts.sampler import store
from rollouts.sampler.counters import Counters, counters_of
from rollouts.sampler.ledger import Batch, Key, Ledger, Row
from rollouts.sampler.watch import Watch
from rollouts.sampler.writer import Writer

log = logging.getLogger(__name__)

FULL_EVERY_S = 1.0
ROWS_WORTH_A_WRITE = 20
SOON_S = 0.2  # then they are written, for the pages, before the second is over

LAST_ANSWERS_S = 0.35  # for requests in flight when the process is told to end
LAST_WRITE_S = 0.4

# What passes. Every other error of a database is a mistake of ours, and ends the process.
AWAY = (OperationalError, InterfaceError)

Ring = Callable[[str], object]


class Sampler:
    """``ring`` is called in the writer thread with "service-<pk>" after each write with news."""

    def __init__(self, ring: Ring) -> None:
        self.ledger = Ledger()
        self.watches: dict[int, Watch] = {}
        self._retired: list[Watch] = []
        self._plans, self._plan = store.Plans(), store.Plan()
        self._counters: dict[str, Counters | None] = {}
        self._ring = ring
        self._writer = Writer()
        self._away = False
        self._broken: list[BaseException] = []
        self._stop, self._wake = asyncio.Event(), asyncio.Event()
        self._soon: asyncio.TimerHandle | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Sample until ``stop`` is set; then store what there is, once, and return.

        Raises whatever nobody foresaw, after that same last write: an error that is swallowed here
        would be requests that are missing from every number, unnoticed.
        """
        self._stop = stop
        beating, counting = parts = [
            asyncio.create_task(part) for part in (self._beat(), self._count())
        ]
        for part in parts:
            part.add_done_callback(self._part_ended)
        await stop.wait()
        self._wake.set()
        counting.cancel()
        await asyncio.gather(
            asyncio.wait(parts, timeout=LAST_ANSWERS_S),
            *(watch.stop(LAST_ANSWERS_S) for watch in [*self.watches.values(), *self._retired]),
        )
        beating.cancel()  # In case the database hangs.
        await asyncio.wait(parts)
        await self._end()
        if lost := sum(tally.requests for tally in self.ledger.batch.tallies.values()):
            log.warning("Ended with %d requests that could not be stored.", lost)
        if self._broken:
            raise self._broken[0]

    def _part_ended(self, part: asyncio.Task[None]) -> None:
        if not part.cancelled() and (error := part.exception()) is not None:
            self._break(error)

    def _break(self, error: BaseException) -> None:
        self._broken.append(error)
        self._stop.set()

    async def _end(self) -> None:
        for reader in self._counters.values():
            if reader is not None:
                reader.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WRITE_S):
                await self._store(math.inf)
                await self._writer.call(_hang_up)
                return
        log.warning("The database does not answer.")

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self._stop.is_set():
            if loop.time() >= due:
                due = max(due + FULL_EVERY_S, loop.time())
                await self._read_plan()
            if not self._stop.is_set():  # The last write waits for the last answers.
                await self._store(time.time())
            self._soon = None
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._wake.wait()

    # What to ask

    async def _read_plan(self) -> None:
        try:
            plan = await self._writer.call(self._plans.read)
        except AWAY as error:
            self._complain(error)  # The last plan stays in force.
            return
        await self._close_retired()
        if plan is self._plan or self._stop.is_set():
            return
        self._plan = plan
        wanted = {each.pk: each for each in plan.services}
        for pk, watch in list(self.watches.items()):
            if watch.wanted != wanted.get(pk):
                watch.retire()
                self._retired.append(self.watches.pop(pk))
        for pk, each in wanted.items():
            if pk not in self.watches:
                watch = Watch(each, self._record, note=self.ledger.note, broken=self._break)
                self.watches[pk] = watch
                watch.start()
            self.watches[pk].labels = plan.labels.get(pk, {})

    async def _close_retired(self) -> None:
        for watch in [each for each in self._retired if not each.busy]:
            self._retired.remove(watch)
            await watch.stop(0)

    def _record(self, row: Row) -> None:
        self.ledger.record(row, TrafficBucket.SAMPLER)
        if self._soon is None and len(self.ledger.batch.rows) >= ROWS_WORTH_A_WRITE:
            loop = asyncio.get_running_loop()
            self._soon = loop.call_later(FULL_EVERY_S if self._away else SOON_S, self._wake.set)

    # What Envoy counted

    async def _count(self) -> None:
        """Read the counters of every Envoy at the start of each second of the wall clock."""
        while True:
            # A little later, because timers may be early.
            await asyncio.sleep(1.005 - time.time() % 1)
            addresses = self._plan.admins
            for gone in set(self._counters) - addresses:
                if reader := self._counters.pop(gone):
                    reader.close()
            for new in addresses - set(self._counters):
                self._counters[new] = counters_of(new)
            readers = [reader for reader in self._counters.values() if reader is not None]
            second = int(time.time()) - 1  # The counts belong to the second that just ended.
            await asyncio.gather(*(self._count_one(reader, second) for reader in readers))

    async def _count_one(self, reader: Counters, second: int) -> None:
        for cluster, count in (await reader.added()).items():
            if (known := self._plan.targets.get(cluster)) is None:
                continue
            service, version, protocol = known
            tally = count.tally(protocol)
            if tally.requests or tally.latency.counts:
                self.ledger.add(Key(service, TrafficBucket.ENVOY, second, version), tally)

    # Storing

    async def _store(self, now: float) -> None:
        batch = self.ledger.take(now)
        try:
            await self._writer.call(lambda: self._write(batch))
        except AWAY as error:
            self.ledger.give_back(batch)
            self._complain(error)
            return
        if self._away:
            log.warning("The database is back.")
        self._away = False

    def _write(self, batch: Batch) -> None:
        for service in store.write(batch, datetime.now(UTC)):
            self._ring(f"service-{service}")

    def _complain(self, error: Exception) -> None:
        if not self._away:
            log.warning("The database cannot be used (%s); keeping the newest 60 s.", error)
        self._away = True
        if forgotten := self.ledger.forget():
            log.warning("The database is still away: forgot %d s of tallies.", forgotten)


def _hang_up() -> None:
    connection.close()  # Looked up in the calling thread: each thread has its own.
