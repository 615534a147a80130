"""Keeps one command running: starts it, starts it again when it dies, stops it when asked.

`groups.py` uses it for tasks and `fixed.py` for the fixed processes. It does not know what
"healthy" means; it tells its listener when a life begins and ends.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from rollouts.supervisor.child import Child, Command, Exit, ended, never_started
from rollouts.supervisor.errors import CannotExecute
from rollouts.supervisor.leftovers import PidBook
from rollouts.supervisor.logs import LogFile

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
STEADY_S = 10.0
LAST_LINES = 20


class Listener(Protocol):
    """Called on the event loop, at once; must not block or raise."""

    def began(self) -> None: ...
    def died(self, why: Exit, pause_s: float | None) -> None:
        """Nobody asked for it. It starts again after ``pause_s``; None: it does not."""

    def moved(self) -> None:
        """The state has changed."""


@dataclass
class Record:
    """What outlives a single life, and the supervisor too when it is stored."""

    port: int | None = None
    exits: int = 0
    last_exit: Exit | None = None


@dataclass(frozen=True)
class Job:
    """``name`` is unique among all children. ``grace_s`` is from SIGTERM to SIGKILL."""

    name: str
    command: Command
    log: LogFile
    grace_s: float = 7.0
    restart: bool = True


class Keeper:
    """``state``: starting, running, stopping, backoff, or ended (for good)."""

    def __init__(self, job: Job, record: Record, pids: PidBook, listener: Listener) -> None:
        self.job = job
        self.record = record
        self.state = "starting"
        self.started_at: float | None = None
        self._pids = pids
        self._listener = listener
        self._child: Child | None = None
        self._wanted = True
        self._asked = False
        self._hurry = asyncio.Event()
        self._log_start = 0
        self._loop = asyncio.create_task(self._keep(), name=job.name)

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @property
    def stopping(self) -> bool:
        return not self._wanted

    def move(self, state: str) -> None:
        if self.state != state:
            self.state = state
            self._listener.moved()

    async def stop(self) -> None:
        """Returns when the child and its session are gone."""
        self._wanted = False
        if self.state != "ended":
            self.move("stopping")
        await self.restart()
        await self._loop

    async def restart(self) -> None:
        """End the present life, or the pause before the next; this counts as no exit."""
        self._hurry.set()
        if self._child:
            self._asked = True
            await self._child.stop(self.job.grace_s)

    def kill(self) -> None:
        """SIGKILL to the session now; for a stop that nobody wants to wait for."""
        self._wanted = False
        self._asked = True
        self._hurry.set()
        if self._child:
            self._child.kill()

    async def _keep(self) -> None:
        pause_s = FIRST_PAUSE_S
        while self._wanted:
            up_s, why = await self._live()
            if why is None:
                continue
            if up_s >= STEADY_S:
                pause_s = FIRST_PAUSE_S
            self._died(why, pause_s)
            if not self.job.restart:
                break
            await self._pause(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        self.move("ended")

    async def _live(self) -> tuple[float, Exit | None]:
        """One life: its seconds, and why it ended; None when we asked for it."""
        self._asked = False
        self._hurry.clear()
        self._log_start = self.job.log.size()
        self.started_at = time.time()
        self.move("starting")
        began = time.monotonic()
        try:
            code = await self._run()
        except CannotExecute as error:
            return 0.0, never_started(error)
        lines = self.job.log.tail(LAST_LINES, since=self._log_start)
        return time.monotonic() - began, None if self._asked else ended(code, lines)

    async def _run(self) -> int:
        with self._output() as output:
            child = await Child.start(self.job.command, output)
        self._child = child
        self._pids.add(self.job.name, child.pid)
        if self._wanted:
            self._listener.began()
        else:  # stopped while it was being forked
            self._asked = True
            await child.stop(self.job.grace_s)
        code = await child.wait()
        self._child = None
        self._pids.remove(self.job.name)
        return code

    def _output(self) -> BinaryIO:
        try:
            return self.job.log.open()
        except OSError as error:
            raise CannotExecute(f"cannot write {error.filename}: {error.strerror}") from error

    def _died(self, why: Exit, pause_s: float) -> None:
        self.record.exits += 1
        self.record.last_exit = why
        self.started_at = None
        self._listener.died(why, pause_s if self.job.restart and self._wanted else None)
        if self.job.restart and self._wanted:
            self.move("backoff")

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            return
