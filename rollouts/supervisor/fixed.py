"""The fixed processes: what one is, and how it is started, found ready and kept.

`manage.py up` writes the list of `Process`; `supervisor.py` starts them in order and stops them
in reverse.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rollouts.supervisor import ports
from rollouts.supervisor.child import Command, Exit
from rollouts.supervisor.errors import StartFailed
from rollouts.supervisor.keeper import Job, Keeper, Record
from rollouts.supervisor.task import Surroundings

POLL_S = 0.03
DEATHS_BEFORE_READY = 3
LAST_LINES = 10


@dataclass(frozen=True)
class Process:
    """One fixed process.

    ``ready`` is a TCP port or a unix socket that must accept, "exit" for a command that has to
    run once and end with code 0, or None: ready as soon as it lives. ``ports`` are others that
    it will listen on: all must be free before it starts. ``address`` is shown when it is ready.
    Times are in seconds; ``grace_s`` is from SIGTERM to SIGKILL.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    ready: int | Path | Literal["exit"] | None = None
    ready_within_s: float = 20.0
    grace_s: float = 10.0
    ports: tuple[int, ...] = ()
    address: str = ""


class FixedProcess:
    """A kept `Process`. It exists from `start` on."""

    def __init__(self, process: Process, around: Surroundings) -> None:
        self.process = process
        self._around = around
        self._began = time.monotonic()
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._look: asyncio.Task[None] | None = None
        self._refuse_taken_ports()
        job = Job(
            name=process.name,
            command=Command(process.argv, process.env, process.cwd),
            log=around.log(process.name),
            grace_s=process.grace_s,
            restart=process.ready != "exit",
        )
        self.keeper = Keeper(job, Record(), around.pids, self)

    async def until_ready(self) -> None:
        """Raises StartFailed, with the last lines of the log."""
        try:
            async with asyncio.timeout(self.process.ready_within_s):
                await self._first
        except TimeoutError:
            text = f"was not ready within {self.process.ready_within_s:g} s"
            lines = self.keeper.job.log.tail(LAST_LINES)
            raise self._failed(text, tuple(lines)) from None

    def began(self) -> None:
        self._stop_looking()
        self._began = time.monotonic()
        self._look = asyncio.create_task(self._look_until_ready())

    def died(self, why: Exit, pause_s: float | None) -> None:
        self._stop_looking()
        if self.process.ready == "exit" and why.code == 0:
            self._found_ready("done")
            return
        again = "" if pause_s is None else f"; starts again in {pause_s:g} s"
        self._around.say(self.process.name, "died", why.text + again)
        hopeless = self.process.ready == "exit" or self.keeper.record.exits >= DEATHS_BEFORE_READY
        if hopeless and not self._first.done():
            self._first.set_exception(self._failed(why.text, why.log))

    def moved(self) -> None:
        """Nobody follows the state of a fixed process; `processes` reads it."""

    async def stop(self) -> None:
        was_alive = self.keeper.pid is not None
        await self.keeper.stop()
        self._stop_looking()
        if was_alive:
            self._around.say(self.process.name, "stopped", "")

    def seen(self) -> dict[str, Any]:
        """What a client sees, as a JSON object."""
        record = self.keeper.record
        return {
            "name": self.process.name,
            "pid": self.keeper.pid,
            "state": self.keeper.state,
            "started_at": self.keeper.started_at,
            "restarts": record.exits if self.process.ready != "exit" else 0,
            "last_exit": vars(record.last_exit) if record.last_exit else None,
        }

    async def _look_until_ready(self) -> None:
        if self.process.ready == "exit":
            return
        while not await self._accepts():  # noqa: ASYNC110 - nobody tells us but the port itself
            await asyncio.sleep(POLL_S)
        self.keeper.move("running")
        self._found_ready("ready")

    async def _accepts(self) -> bool:
        ready = self.process.ready
        try:
            async with asyncio.timeout(1.0):
                if isinstance(ready, int):
                    _, writer = await asyncio.open_connection(ports.HOST, ready)
                elif isinstance(ready, Path):
                    _, writer = await asyncio.open_unix_connection(ready)
                else:
                    return True
        except OSError:  # TimeoutError is one too
            return False
        writer.close()
        return True

    def _found_ready(self, word: str) -> None:
        took = f"{time.monotonic() - self._began:.1f} s"
        address = self.process.address
        if not address and isinstance(self.process.ready, int):
            address = f"{ports.HOST}:{self.process.ready}"
        self._around.say(self.process.name, word, f"{address}   {took}" if address else took)
        if not self._first.done():
            self._first.set_result(None)

    def _refuse_taken_ports(self) -> None:
        ready = self.process.ready
        for port in (ready, *self.process.ports) if isinstance(ready, int) else self.process.ports:
            if not ports.is_free(port):
                by = ports.holder(port)
                raise StartFailed(
                    f"{self.process.name} needs port {port}, which is taken by "
                    f"{by or 'another program'}."
                )

    def _failed(self, text: str, lines: tuple[str, ...]) -> StartFailed:
        log = self.keeper.job.log.path
        words = "\n".join(f"  {line}" for line in lines[-LAST_LINES:])
        told = f" Its last words, from {log}:\n{words}" if words else f" Its log {log} is empty."
        return StartFailed(f"{self.process.name} {text}.{told}")

    def _stop_looking(self) -> None:
        if self._look:
            self._look.cancel()
            self._look = None
