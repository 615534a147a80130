"""Starts the echo programs as real processes on free ports, for the tests of this package.

A Program must be stopped by whoever started it; the fixtures in ``conftest.py`` do.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 15.0


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until ``condition`` holds. Fails with ``what`` after DEADLINE_SECONDS."""
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {DEADLINE_SECONDS} s: {what}"
        time.sleep(0.02)


class Program:
    """One running ``python -m <module>``, told where to listen by PORT."""

    def __init__(self, module: str, logs: Path, **env: str) -> None:
        self.port = int(env.get("PORT") or free_port())
        self._out, self._err = (logs / f"{module}-{self.port}.{end}" for end in ("out", "err"))
        with self._out.open("w") as out, self._err.open("w") as err:
            self._child = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], **env, "PORT": str(self.port)},
                stdout=out,
                stderr=err,
            )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def printed(self) -> str:
        return self._out.read_text()

    @property
    def complained(self) -> str:
        return self._err.read_text()

    def wait_until_listening(self) -> None:
        eventually(self._is_listening, f"{self.address} accepts connections")

    def _is_listening(self) -> bool:
        assert self._child.poll() is None, f"ended early: {self.complained}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def ask_to_stop(self) -> None:
        self._child.send_signal(signal.SIGTERM)

    def wait_for_end(self) -> int:
        return self._child.wait(DEADLINE_SECONDS)

    def end(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait(DEADLINE_SECONDS)


class Response(NamedTuple):
    status: int
    text: str
    headers: http.client.HTTPMessage


def fetch(program: Program, path: str, method: str = "GET") -> Response:
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=DEADLINE_SECONDS)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return Response(response.status, response.read().decode(), response.headers)
    finally:
        connection.close()
