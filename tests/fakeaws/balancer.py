"""The data plane of a load balancer: a TCP forwarder on loopback.

One for each ALB of the fake, in a thread of its own. It chooses a target for each connection, not
for each request as an ALB does: shares are right over many connections only.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterable
from contextlib import suppress

Target = tuple[str, int, int]
"""IP address, port and weight; a weight of 0 gets nothing."""

CONNECT_S = 1.0
CHUNK = 65536


def _answer(status: str) -> bytes:
    text = f"{status}\n"
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode()


NO_TARGET = _answer("503 Service Temporarily Unavailable")
NO_ANSWER = _answer("502 Bad Gateway")


class Choice:
    """Which target is next, so that every share is as exact as it can be after each choice."""

    def __init__(self, targets: Iterable[Target] = ()) -> None:
        self._weights = {(ip, port): weight for ip, port, weight in targets if weight > 0}
        self._credit = dict.fromkeys(self._weights, 0)

    def next(self) -> list[tuple[str, int]]:
        """All targets, in the order in which they should be tried."""
        for place, weight in self._weights.items():
            self._credit[place] += weight
        order = sorted(self._credit, key=lambda place: -self._credit[place])
        if order:
            self._credit[order[0]] -= sum(self._weights.values())
        return order


class Balancer:
    """Listens on ``host``:``port`` (0: a free one) until ``close``.

    With ``tls`` it ends TLS itself, as an HTTPS listener does. Connections to a target that is no
    longer one are cut, so that nobody stays with it.
    """

    def __init__(
        self, port: int = 0, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self._choice = Choice()
        self._open: dict[asyncio.Task[None], tuple[str, int]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        listening = asyncio.start_server(self._serve, host, port, ssl=tls)
        try:
            self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result()
        except OSError:
            self._end_loop()
            raise
        self.host = host
        self.port: int = self._server.sockets[0].getsockname()[1]

    def set_targets(self, targets: Iterable[Target]) -> None:
        """Send new connections to these; returns when it is so."""
        asyncio.run_coroutine_threadsafe(self._set(list(targets)), self._loop).result()

    def close(self) -> None:
        """Stop listening and end every connection."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._end_loop()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _set(self, targets: list[Target]) -> None:
        self._choice = Choice(targets)
        places = {(ip, port) for ip, port, weight in targets if weight > 0}
        for task, place in list(self._open.items()):
            if place not in places:
                task.cancel()

    async def _close(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Being cut, or hung up on, is no error of ours.
        with suppress(ConnectionError, asyncio.CancelledError):
            order = self._choice.next()
            there = await self._connect(order)
            if there is None:
                await reader.read(CHUNK)
                writer.write(NO_ANSWER if order else NO_TARGET)
                await writer.drain()
            else:
                await self._forward(reader, writer, *there)
        writer.close()

    async def _connect(
        self, order: list[tuple[str, int]]
    ) -> tuple[tuple[str, int], asyncio.StreamReader, asyncio.StreamWriter] | None:
        for place in order:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_S):
                    return place, *await asyncio.open_connection(*place)
        return None

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        place: tuple[str, int],
        from_target: asyncio.StreamReader,
        to_target: asyncio.StreamWriter,
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = place
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, to_target))
                both.create_task(_copy(from_target, writer))
        finally:
            del self._open[task]
            to_target.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one side ends; then the other hears of it."""
    with suppress(ConnectionError):
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    with suppress(OSError, RuntimeError):
        if writer.can_write_eof():
            writer.write_eof()
        else:
            writer.close()
