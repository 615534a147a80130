"""The hub: one loop in the web process that looks once and tells every open page the same bytes.

``web.stream`` calls ``stream``. It wakes at the bell, once a second, and with the broker dead each
half second. All database reads run in the hub's own thread, never on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import DatabaseError, close_old_connections

from rollouts.live.bell import listen
from rollouts.live.frames import RETRY
from rollouts.live.rounds import Round, Teller

QUEUE = 100  # chunks a viewer may lag behind; then it is dropped and comes back by itself
POLL_S = 0.5
SOONEST_S = 0.1  # two rounds are never closer: a storm of rings costs ten reads a second
log = logging.getLogger(__name__)
T = TypeVar("T")


class Viewer:
    """One open stream. ``gone``: it read too slowly, or the hub ended."""

    def __init__(self, topics: frozenset[str]) -> None:
        self.topics = topics
        self.queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUE)
        self.gone = False


class Hub:
    """One per process and event loop. ``clock`` gives Unix time; ``url`` is the broker's."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self._url, self._clock = url, clock
        self._viewers: set[Viewer] = set()
        self._teller = Teller()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hub")
        self._tasks: list[asyncio.Task[None]] = []
        self._rung = asyncio.Event()
        self._bell_alive = False

    async def stream(
        self, topics: frozenset[str], seen: int | None
    ) -> AsyncGenerator[bytes | None, None]:
        """Chunks for one viewer; None about once a second when there is nothing to say.

        ``seen``: the last event's number; what happened since then comes first.
        """
        viewer = Viewer(topics)
        self._viewers.add(viewer)
        self._start()
        try:
            yield RETRY
            yield await self.read(self._teller.greet, topics, self._clock(), seen)
            while not viewer.gone:
                try:
                    yield await asyncio.wait_for(viewer.queue.get(), 1.0)
                except TimeoutError:
                    yield None
        except DatabaseError as error:
            log.warning("A stream ends, the database does not answer: %s", error)
        finally:
            self._viewers.discard(viewer)
            if not self._viewers:
                self._stop()

    async def read(self, ask: Callable[..., T], *args: Any) -> T:
        """Run a function that reads the database in the hub's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, _fresh, ask, *args)

    def close(self) -> None:
        """End every stream, for tests and shutdown."""
        for viewer in self._viewers:
            viewer.gone = True
        self._stop()
        self._thread.shutdown(wait=False)

    def _start(self) -> None:
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [
                loop.create_task(self._run()),
                loop.create_task(listen(self._url, lambda topic: self._rung.set(), self._hears)),
            ]

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks = []

    def _hears(self, alive: bool) -> None:
        self._bell_alive = alive

    async def _run(self) -> None:
        told = 0
        while self._viewers:
            now = self._clock()
            topics = frozenset().union(*(viewer.topics for viewer in self._viewers))
            try:
                made = await self.read(self._look, topics, now, int(now) != told)
            except DatabaseError as error:
                log.warning("No news, the database does not answer: %s", error)
            else:
                self._hand_out(made, beat=int(now) != told)
                told = int(now)
            await self._sleep()

    def _look(self, topics: frozenset[str], now: float, second: bool) -> Round:
        return self._teller.tell(topics, now, second=second)

    async def _sleep(self) -> None:
        """Until the bell, the next second, or the next poll."""
        await asyncio.sleep(SOONEST_S)
        now = self._clock()
        left = 1.0 - now % 1.0
        try:
            await asyncio.wait_for(
                self._rung.wait(), left if self._bell_alive else min(left, POLL_S)
            )
        except TimeoutError:
            return
        finally:
            self._rung.clear()

    def _hand_out(self, made: Round, *, beat: bool) -> None:
        """The same bytes for all who asked for the same topics."""
        chunks: dict[frozenset[str], bytes] = {}
        for viewer in list(self._viewers):
            if viewer.topics not in chunks:
                parts = [made.frames[t] for t in sorted(viewer.topics) if t in made.frames]
                chunks[viewer.topics] = b"".join(
                    [*parts, made.beat(viewer.topics) if beat else b""]
                )
            self._put(viewer, chunks[viewer.topics])

    def _put(self, viewer: Viewer, chunk: bytes) -> None:
        if not chunk:
            return
        try:
            viewer.queue.put_nowait(chunk)
        except asyncio.QueueFull:
            viewer.gone = True
            self._viewers.discard(viewer)


def _fresh(ask: Callable[..., T], *args: Any) -> T:
    """A connection that died is replaced, as at the start of a request."""
    close_old_connections()
    return ask(*args)
