"""A steady load on the public endpoint, in a process of its own, and what it saw.

Open loop: requests fall due at fixed instants, whether earlier ones are answered or not. Plain
HTTP/1.1 over a bounded number of kept connections; a request that finds none free waits for one.
All instants are CLOCK_MONOTONIC, which every process of a machine shares.

``python -m tests.e2e.load PORT RPS CONNECTIONS`` runs until its stdin ends.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 8.0  # for one answer, longer than any time-out of the mesh
VERSION = re.compile(rb"Version ([^)\s]+)\)")
LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.I)


@dataclass(frozen=True)
class Answer:
    """One request. ``version`` said it; ``failure`` says why there was no 200, else ""."""

    sent: float
    done: float
    status: int
    version: str
    failure: str


@dataclass(frozen=True)
class Seen:
    """What a load saw, in the order of the answers."""

    answers: tuple[Answer, ...]

    @property
    def failures(self) -> list[str]:
        return [f"{a.failure} at {a.done:.3f}" for a in self.answers if a.failure]

    def versions(self, since: float = 0.0, until: float = float("inf")) -> Counter[str]:
        """Answers by version, of the requests sent and answered within the span."""
        return Counter(a.version for a in self.answers if since <= a.sent and a.done <= until)

    def last(self, version: str) -> float:
        """When the version answered last; 0.0 when it never did."""
        return max((a.done for a in self.answers if a.version == version), default=0.0)

    def first(self, version: str) -> float:
        return min((a.done for a in self.answers if a.version == version), default=float("inf"))

    def says(self) -> str:
        """One line with the numbers, for the report of a test run."""
        took = sorted(a.done - a.sent for a in self.answers) or [0.0]
        return (
            f"{len(self.failures)} of {len(self.answers)} requests failed, "
            f"p99 {took[len(took) * 99 // 100] * 1000:.0f} ms, slowest {took[-1] * 1000:.0f} ms"
        )


class Load:
    """A context manager: load while the block runs. ``seen`` is there after it."""

    def __init__(self, port: int, rps: int = 500, connections: int = 48) -> None:
        self._words = [str(port), str(rps), str(connections)]
        self._process: subprocess.Popen[str] | None = None
        self._seen: Seen | None = None

    @property
    def seen(self) -> Seen:
        assert self._seen is not None, "the load is still running"
        return self._seen

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.load", *self._words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "started\n"
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process is not None
        try:
            out, _ = self._process.communicate(timeout=PATIENCE_S + 12)
        finally:
            self._process.kill()
            self._process.wait()
        self._seen = Seen(tuple(Answer(*row) for row in json.loads(out)))


class _Connection(asyncio.Protocol):
    """One kept connection, one request at a time; opens itself again after a failure."""

    def __init__(self, load: _Generator) -> None:
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._due: float | None = None
        self._bytes = b""
        self._timer: asyncio.TimerHandle | None = None

    async def send(self, due: float) -> None:
        self._due, self._bytes = due, b""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(PATIENCE_S, self._fail, "no answer")
        if self._transport is None:
            try:
                await loop.create_connection(lambda: self, "127.0.0.1", self._load.port)
            except OSError as error:
                self._fail(f"connect: {error.strerror}")
                return
        if self._transport is not None and self._due is not None:
            self._transport.write(self._load.request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._bytes += data
        head, blank, body = self._bytes.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not blank:
            return
        if length is None:
            self._fail("no content-length")
        elif len(body) >= int(length[1]):
            self._end(int(head[9:12]), body)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._due is not None:
            self._fail(f"connection lost: {error}" if error else "connection closed")

    def _fail(self, why: str) -> None:
        self._finish(0, "", why)
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _end(self, status: int, body: bytes) -> None:
        said = VERSION.search(body)
        version = said[1].decode() if said else ""
        text = body[:120].decode("utf-8", "replace").strip()
        wrong = "" if status == 200 and version else f"{status} {text}"
        self._finish(status, version, wrong)

    def _finish(self, status: int, version: str, why: str) -> None:
        if self._due is None:
            return
        answer = Answer(self._due, time.monotonic(), status, version, why)
        self._due = None
        if self._timer is not None:
            self._timer.cancel()
        self._load.finished(self, answer)


class _Generator:
    def __init__(self, port: int, rps: int, connections: int) -> None:
        self.port = port
        self.request = f"GET /?name=Load HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode()
        self._gap_s = 1 / rps
        self._free = deque(_Connection(self) for _ in range(connections))
        self._due: deque[float] = deque()
        self._answers: list[Answer] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._open = 0

    async def run(self) -> list[Answer]:
        """Until stdin ends, and then until every request has its answer."""
        ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        print("started", flush=True)
        due = time.monotonic()
        while not ended.done():
            due += self._gap_s
            await asyncio.sleep(due - time.monotonic())
            self._due.append(due)
            self._send_due()
        while self._open or self._due:  # noqa: ASYNC110 - answers come by call-backs
            await asyncio.sleep(0.01)
        return self._answers

    def finished(self, connection: _Connection, answer: Answer) -> None:
        self._open -= 1
        self._answers.append(answer)
        self._free.append(connection)
        self._send_due()

    def _send_due(self) -> None:
        while self._due and self._free:
            self._open += 1
            send = self._free.popleft().send(self._due.popleft())
            task = asyncio.get_running_loop().create_task(send)
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)


def main(port: int, rps: int, connections: int) -> None:
    answers = asyncio.run(_Generator(port, rps, connections).run())
    rows = [[a.sent, a.done, a.status, a.version, a.failure] for a in answers]
    print(json.dumps(rows))


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:4]))
