"""Asks one target by HTTP/1.1 GET over a few kept connections; measures nothing.

Called by ``loop`` (what a caller sees) and ``counters`` (Envoy's admin). Reads at most ``limit``
bytes of a body, follows no redirect, and connects only where ``addresses`` allows it.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any, cast

import httptools

from rollouts.sampler.addresses import AddressRefused, Target, resolve

BODY_BYTES = 64 * 1024
IDLE_CONNECTIONS = 4
_HEADER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """``status`` is the HTTP status, or what went wrong in one word: "time-out", "refused" …"""

    status: str
    body: bytes = b""

    @property
    def ok(self) -> bool:
        return len(self.status) == 3 and self.status[0] == "2"


class Connection(asyncio.Protocol):
    """One kept connection; one request at a time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._clear()
        self.usable = False

    def _clear(self) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._seen = 0
        self._framed = self._headers_done = False

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        self._clear()
        self._waiting = asyncio.get_running_loop().create_future()
        assert self._transport is not None  # noqa: S101  connection_made came before
        self._transport.write(request)
        return self._waiting

    @property
    def silent(self) -> bool:
        """No byte of the answer has arrived."""
        return self._seen == 0

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def _finish(self, answer: Answer, *, keep: bool) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)
        self._waiting = None
        if not keep:
            self.close()

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because the transports of uvloop are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:  # Bytes that nobody asked for: not a connection to keep.
            self.close()
            return
        self._seen += len(data)
        if not self._headers_done and self._seen > _HEADER_BYTES + len(data):
            self._finish(Answer("too large"), keep=False)
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._finish(Answer("unreadable"), keep=False)

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = False
        whole = error is None and self._headers_done and not self._framed
        self._finish(self._answer() if whole else Answer("reset"), keep=False)

    # httptools calls these

    def on_header(self, name: bytes, value: bytes) -> None:
        self._framed |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        self._headers_done = self._parser.get_status_code() >= 200

    def on_body(self, body: bytes) -> None:
        room = self._limit - len(self._body)
        self._body += body[:room]
        if len(body) > room:
            self._finish(Answer("too large", bytes(self._body)), keep=False)

    def on_message_complete(self) -> None:
        if self._headers_done and self._waiting is not None:  # and not a 100 Continue
            self._finish(self._answer(), keep=bool(self._parser.should_keep_alive()))

    def _answer(self) -> Answer:
        return Answer(str(self._parser.get_status_code()), bytes(self._body))


class Probe:
    """Keeps the idle connections of one target. ``get`` never raises for what a server does."""

    def __init__(self, target: Target, timeout_s: float, limit: int = BODY_BYTES) -> None:
        self.target, self.timeout_s, self._limit = target, timeout_s, limit
        self._idle: list[Connection] = []
        self._closed = False
        self.connected = 0  # connections made so far
        self._request = (
            f"GET {target.path} HTTP/1.1\r\nHost: {target.authority}\r\n"
            "User-Agent: meshui-sampler\r\nAccept: */*\r\n\r\n"
        ).encode("ascii")

    async def get(self, timeout_s: float | None = None) -> Answer:
        """One GET, within ``timeout_s`` seconds (the probe's own when None)."""
        try:
            async with asyncio.timeout(self.timeout_s if timeout_s is None else timeout_s):
                return await self._get()
        except TimeoutError:
            return Answer("time-out")
        except AddressRefused as refused:
            return Answer("forbidden", str(refused).encode())
        except ConnectionRefusedError:
            return Answer("refused")
        except ConnectionResetError:
            return Answer("reset")
        except ssl.SSLError as error:
            return Answer("unreadable", str(error).encode())
        except (OSError, UnicodeError) as error:  # the latter for names that DNS cannot spell
            return Answer("unreachable", str(error).encode())

    async def _get(self) -> Answer:
        while self._idle:
            connection = self._idle.pop()
            if not connection.usable:
                continue
            answer = await self._ask(connection)
            # A server may hang up on an idle connection just as we use it: not its failure.
            if answer.status != "reset" or not connection.silent:
                return answer
        return await self._ask(await self._connect())

    async def _ask(self, connection: Connection) -> Answer:
        try:
            answer = await connection.ask(self._request)
        except asyncio.CancelledError:
            connection.close()  # The late answer must not meet the next request.
            raise
        if connection.usable:
            if len(self._idle) < IDLE_CONNECTIONS and not self._closed:
                self._idle.append(connection)
            else:
                connection.close()
        return answer

    async def _connect(self) -> Connection:
        address = await resolve(self.target)
        tls = ssl.create_default_context() if self.target.tls else None
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self._limit),
            address,
            self.target.port,
            ssl=tls,
            server_hostname=self.target.host if tls else None,
        )
        self.connected += 1
        return connection

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()
