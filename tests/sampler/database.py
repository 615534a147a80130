"""Rows from a test that runs in an event loop, and a real lock on the database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from django.db import connection, transaction

T = TypeVar("T")


async def rows(call: Callable[[], T]) -> T:
    """Run ``call`` in a thread and close its connection: an open one keeps PostgreSQL busy."""

    def run() -> T:
        try:
            return call()
        finally:
            connection.close()

    return await asyncio.to_thread(run)


@asynccontextmanager
async def locked() -> AsyncIterator[None]:
    """Somebody else writes to the buckets for as long as the block lasts."""
    taken, release = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic(), connection.cursor() as cursor:  # SQLite: BEGIN IMMEDIATE
            if connection.vendor == "postgresql":
                cursor.execute("LOCK TABLE rollouts_trafficbucket IN ACCESS EXCLUSIVE MODE")
            taken.set()
            release.wait(30)

    holding = asyncio.create_task(rows(hold))
    await asyncio.to_thread(taken.wait, 10)
    try:
        yield
    finally:
        release.set()
        await holding
