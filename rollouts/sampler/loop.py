"""The sampler's process: keeps a Watch per service, reads Envoy's counters, stores once a second.

Called by ``manage.py sampler`` only. Everything that touches the database runs in one writer
thread, so that a locked or unreachable database delays no request; what cannot be stored is kept
for 60 s (see ``ledger``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

from django.db import Error as DatabaseError
from django.db import close_old_connections, connection

from rollouts.models import TrafficBucket
from rollouts.sampler import store
from rollouts.sampler.counters import Counters, counters_of
from rollouts.sampler.ledger import Batch, Key, Ledger, Row
from rollouts.sampler.watch import Watch

log = logging.getLogger(__name__)

FULL_EVERY_S = 1.0
LOOK_EVERY_S = 0.2
ROWS_WORTH_A_WRITE = 20

T = TypeVar("T")
Ring = Callable[[str], None]


def _silent(topic: str) -> None:
    """The bell when nobody listens."""


class Sampler:
    """``ring`` is called in the writer thread with "service-<pk>" after each write with news."""

    def __init__(self, ring: Ring = _silent) -> None:
        self.ledger = Ledger()
        self.watches: dict[int, Watch] = {}
        self._plan = store.Plan((), {}, (), {})
        self._counters: dict[str, Counters | None] = {}
        self._ring = ring
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sampler-writer")
        self._away = False

    async def run(self, stop: asyncio.Event) -> None:
        """Sample until ``stop`` is set; then store what there is, once, and return."""
        counting = asyncio.get_running_loop().create_task(self._count())
        try:
            await self._beat(stop)
        finally:
            counting.cancel()
            await asyncio.gather(
                counting, *(w.stop() for w in self.watches.values()), return_exceptions=True
            )
            for reader in self._counters.values():
                if reader is not None:
                    reader.close()
            await self._store()
            await self._in_writer(_hang_up)
            self._writer.shutdown(wait=False)

    async def _beat(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not stop.is_set():
            if loop.time() >= due:
                due = max(due + FULL_EVERY_S, loop.time())
                await self._read_plan()
                await self._store()
            elif len(self.ledger.batch.rows) >= ROWS_WORTH_A_WRITE and not self._away:
                await self._store()
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await stop.wait()
            except TimeoutError:
                continue

    async def _in_writer(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, call)

    # What to ask

    async def _read_plan(self) -> None:
        try:
            self._plan = await self._in_writer(_plan)
        except DatabaseError as error:
            self._complain(error)  # The last plan stays in force.
            return
        wanted = {each.pk: each for each in self._plan.services}
        for pk, watch in list(self.watches.items()):
            if watch.wanted != wanted.get(pk):
                del self.watches[pk]
                await watch.stop()
        for pk, each in wanted.items():
            if pk not in self.watches:
                self.watches[pk] = Watch(each, self._record)
                self.watches[pk].start()
            self.watches[pk].labels = self._plan.labels.get(pk, {})

    def _record(self, row: Row) -> None:
        self.ledger.record(row, TrafficBucket.SAMPLER)

    # What Envoy counted

    async def _count(self) -> None:
        """Read the counters of every Envoy at the start of each second of the wall clock."""
        while True:
            await asyncio.sleep(1 - time.time() % 1)
            addresses = {a for admin in self._plan.admins for a in admin.addresses}
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

    async def _store(self) -> None:
        batch = self.ledger.take(time.time())
        try:
            await self._in_writer(lambda: self._write(batch))
        except DatabaseError as error:
            self.ledger.give_back(batch)
            self._complain(error)
            return
        if self._away:
            log.warning("The database is back.")
        self._away = False

    def _write(self, batch: Batch) -> None:
        try:
            news = store.write(batch, datetime.now(UTC))
        finally:
            close_old_connections()
        for service in news:
            self._ring(f"service-{service}")

    def _complain(self, error: DatabaseError) -> None:
        if not self._away:
            log.warning("The database cannot be used (%s); keeping the newest 60 s.", error)
        self._away = True
        if forgotten := self.ledger.forget():
            log.warning("The database is still away: forgot %d s of tallies.", forgotten)


def _plan() -> store.Plan:
    try:
        return store.plan()
    finally:
        close_old_connections()


def _hang_up() -> None:
    connection.close()  # Looked up in the calling thread: each thread has its own.
