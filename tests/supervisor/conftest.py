"""Starts real supervisors as processes of their own, and ends them by pid."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rollouts.supervisor.client import SupervisorClient, SupervisorUnreachable
from rollouts.supervisor.leftovers import born

ROOT = Path(__file__).parents[2]
LAUNCH = [sys.executable, "-m", "tests.supervisor.launch"]
SLEEP = [sys.executable, "-c", "import time; time.sleep(1000)"]
# With -S a Python starts in half the time.
LISTEN = [
    sys.executable, "-S", "-c",
    "import os, socket, time\n"
    "s = socket.create_server(('127.0.0.1', int(os.environ['PORT'])))\n"
    "print('listening', flush=True)\n"
    "while True: s.accept()[0].close()",
]  # fmt: skip


def eventually(question: Callable[[], Any], within_s: float = 8.0) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + within_s
    while not (answer := question()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return answer


def alive(pid: int) -> bool:
    return born(pid) != ""


class Running:
    """One supervisor and the client for it."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.client = SupervisorClient(state_dir / "supervisor.sock", timeout_s=5.0)
        self._seen: set[int] = set()
        self._output = state_dir.with_suffix(".out")

    def start(self, *fixed: dict[str, Any]) -> "Running":
        """Start and wait for the socket."""
        self.launch(*fixed)
        eventually(self.answers)
        return self

    def launch(self, *fixed: dict[str, Any]) -> None:
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                [*LAUNCH, self.state_dir, json.dumps(fixed)],
                cwd=ROOT, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def answers(self) -> bool:
        assert self.process.poll() is None, self.output()
        try:
            self.client.processes()
        except SupervisorUnreachable:
            return False
        return True

    def output(self) -> str:
        return self._output.read_text()

    def end(self, signum: int = signal.SIGINT) -> int:
        """Send a signal and wait; returns the exit code."""
        self.process.send_signal(signum)
        return self.process.wait(timeout=10)

    def tasks(self, group: str = "g") -> list[dict[str, Any]]:
        tasks: list[dict[str, Any]] = self.client.observe(group)["tasks"]
        self._seen |= {task["pid"] for task in tasks if task["pid"]}
        return tasks

    def healthy(self, count: int, group: str = "g") -> list[dict[str, Any]]:
        """Wait until exactly ``count`` tasks exist and all are healthy."""

        def all_healthy() -> tuple[list[dict[str, Any]]] | None:
            tasks = self.tasks(group)
            fine = len(tasks) == count and all(task["healthy"] for task in tasks)
            return (tasks,) if fine else None

        found: tuple[list[dict[str, Any]]] = eventually(all_healthy)
        return found[0]

    def pids(self) -> list[int]:
        """Every process that a client can see now."""
        fixed = [each["pid"] for each in self.client.processes() if each["pid"]]
        groups = self.client.groups()
        return fixed + [t["pid"] for name in groups for t in self.tasks(name) if t["pid"]]

    def clean(self) -> None:
        if hasattr(self, "process") and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self._seen:
            with contextlib.suppress(ProcessLookupError):
                if alive(pid):
                    os.killpg(pid, signal.SIGKILL)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, because the path of a unix socket may not be long."""
    path = Path(tempfile.mkdtemp(prefix="sup"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def supervisor(folder: Path) -> Iterator[Running]:
    """Not started yet."""
    running = Running(folder / "state")
    yield running
    running.clean()


@pytest.fixture
def up(supervisor: Running) -> Running:
    """Started, with no fixed processes."""
    return supervisor.start()


def a_set(name: str = "1", count: int = 1, **fields) -> dict[str, Any]:
    return {"set": name, "count": count, "argv": SLEEP, **fields}


def a_port_set(name: str = "1", count: int = 1, **fields) -> dict[str, Any]:
    health = {"kind": "tcp", "interval_s": 0.1, "timeout_s": 0.3}
    return {"set": name, "count": count, "argv": LISTEN, "port": "auto", "health": health, **fields}
