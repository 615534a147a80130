"""The sampler's one thread for the database.

Owned by ``loop``. A database that is slow or hangs delays no request, and never the end of the
process: the thread is a daemon, which the threads of an executor are not.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from django.db import Error as DatabaseError
from django.db import connection

T = TypeVar("T")


class Writer:
    """Runs one call after the other in its thread, with one kept connection."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._run, name="sampler-writer", daemon=True).start()

    async def call(self, what: Callable[[], T]) -> T:
        """What ``what`` returns or raises. A caller that is cancelled stops waiting for it."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            if answer.cancelled():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result)  # type: ignore[arg-type]

        def run() -> None:
            result, error = _outcome(what)
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, result, error)

        self._calls.put(run)
        return await answer

    def _run(self) -> None:
        while True:
            self._calls.get()()


def _outcome(what: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    try:
        return what(), None
    except DatabaseError as error:
        connection.close_if_unusable_or_obsolete()  # The next call opens another.
        return None, error
    except BaseException as error:  # noqa: BLE001  it is raised again where it is awaited
        return None, error
