"""The load as the benchmarks see it: start, stop, and what each request met.

Drives a ``generator`` process, so that its work never waits for the one who measures.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.generator import FAILED, RECORD


@dataclass(frozen=True)
class Answer:
    """One request. Times are seconds of CLOCK_MONOTONIC; ``version`` is None for a failure."""

    due: float
    sent: float
    done: float
    version: str | None


class Load:
    """Starts the generator; use as a context manager."""

    def __init__(self, port: int, path: str, records: Path) -> None:
        self._records = records
        self._read = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.generator", str(port), path, str(records)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.kill()
        self._process.wait()

    @contextmanager
    def open(self, rate: float) -> Iterator[None]:
        """Send ``rate`` requests a second for as long as the block lasts."""
        self._tell(f"open {rate}")
        try:
            yield
        finally:
            self._tell("stop")

    def closed(self, number: int) -> list[Answer]:
        """Send ``number`` requests as fast as they are answered."""
        self._tell(f"closed {number}")
        return self.answers()

    def answers(self) -> list[Answer]:
        """Every request since the last call, in the order of the answers; call it when stopped."""
        with self._records.open("rb") as file:
            file.seek(self._read)
            raw = file.read()
        self._read += len(raw)
        return [
            Answer(due, sent, done, None if version == FAILED else f"{version / 10:.1f}")
            for due, sent, done, version in RECORD.iter_unpack(raw)
        ]

    def _tell(self, command: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n".encode())
        self._process.stdin.flush()
        if self._process.stdout.readline() != b"done\n":
            raise RuntimeError(f"The load generator ended with code {self._process.wait()}.")
