"""The process that sends requests: open loop at a rate, or closed loop for a number.

``python -m tests.benchmarks.generator PORT PATH RECORDS``; commands on stdin, one a line:
``open RATE``, ``stop`` and ``closed NUMBER``. Each is answered with one line once it is done.
Appends one record of four doubles for each request to RECORDS: due, sent, done (seconds of
CLOCK_MONOTONIC) and the version that answered, times ten (9.0 is version 0.9), or −1 for a failure.
"""

import asyncio
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import BinaryIO, cast

import uvloop

CONNECTIONS = 16
RECORD = struct.Struct("dddd")
FAILED = -1.0
TURN_S = 0.001  # the finest sleep of the event loop; what came due meanwhile is sent at once


class Caller(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, request: bytes, answered: Callable[["Caller", float], None]) -> None:
        self._request = request
        self._answered = answered
        self._got = b""
        self.due = self.sent = 0.0
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No isinstance: the transports of uvloop are not registered as such.
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, due: float) -> None:
        self.due, self.sent, self.busy = due, time.monotonic(), True
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        if not self._is_whole():
            return
        answer, self._got, self.busy = self._got, b"", False
        self._answered(self, _version_of(answer))

    def _is_whole(self) -> bool:
        head, end, body = self._got.partition(b"\r\n\r\n")
        if not end:
            return False
        _, _, length = head.lower().partition(b"content-length: ")
        return len(body) >= int(length.split(b"\r\n")[0] or 0)

    def connection_lost(self, error: Exception | None) -> None:
        if self.busy:
            self._answered(self, FAILED)
        raise SystemExit("The proxy closed a connection: the load cannot go on.")


def _version_of(answer: bytes) -> float:
    """1.0 → 10.0; FAILED unless the status is 200."""
    if not answer.startswith(b"HTTP/1.1 200"):
        return FAILED
    _, _, version = answer.partition(b"x-version: ")
    return float(version.split(b"\r\n")[0]) * 10


class Generator:
    def __init__(self, records: BinaryIO) -> None:
        self._records = records
        self._idle: deque[Caller] = deque()
        self._waiting: deque[float] = deque()
        self._to_send = 0
        self._busy = 0
        self._quiet = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None

    async def connect(self, port: int, path: str) -> None:
        request = f"GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n".encode()
        for _ in range(CONNECTIONS):
            _, caller = await asyncio.get_running_loop().create_connection(
                lambda: Caller(request, self._answered), "127.0.0.1", port
            )
            self._idle.append(caller)

    def open(self, rate: float) -> None:
        """Send ``rate`` requests a second, whatever the answers do."""
        self._sending = asyncio.create_task(self._keep_sending(rate))

    async def _keep_sending(self, rate: float) -> None:
        began, sent = time.monotonic(), 0
        while True:
            while began + sent / rate <= time.monotonic():
                self._send(began + sent / rate)
                sent += 1
            await asyncio.sleep(TURN_S)

    def _send(self, due: float) -> None:
        if not self._idle:
            self._waiting.append(due)
            return
        self._busy += 1
        self._idle.popleft().ask(due)

    def _answered(self, caller: Caller, version: float) -> None:
        record = RECORD.pack(caller.due, caller.sent, time.monotonic(), version)
        self._records.write(record)
        if self._to_send:
            self._to_send -= 1
            self._waiting.append(time.monotonic())
        if self._waiting:
            caller.ask(self._waiting.popleft())
            return
        self._busy -= 1
        self._idle.append(caller)
        if not self._busy:
            self._quiet.set()

    async def closed(self, number: int) -> None:
        """Send ``number`` requests, the next as soon as a connection is free."""
        at_once = min(number, len(self._idle))
        self._to_send = number - at_once
        for _ in range(at_once):
            self._send(time.monotonic())
        await self.stop()

    async def stop(self) -> None:
        """Return once every request is answered and recorded."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        while self._busy:
            self._quiet.clear()
            await self._quiet.wait()
        self._records.flush()


async def main(port: int, path: str, records: str) -> None:
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    with open(records, "wb") as file:  # noqa: ASYNC230 - opened once, before any load
        generator = Generator(file)
        await generator.connect(port, path)
        while command := (await commands.readline()).split():
            match command:
                case [b"open", rate]:
                    generator.open(float(rate))
                case [b"closed", number]:
                    await generator.closed(int(number))
                case _:
                    await generator.stop()
            sys.stdout.write("done\n")
            sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
