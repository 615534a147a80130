"""One task of a group: a kept command with a port, a record and a pulse.

`groups.py` makes and stops tasks; a task tells its group when anything changes.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rollouts.supervisor.child import Command, Exit
from rollouts.supervisor.keeper import Job, Keeper, Record
from rollouts.supervisor.leftovers import PidBook
from rollouts.supervisor.logs import LogFile
from rollouts.supervisor.ports import HOST
from rollouts.supervisor.probes import Finding
from rollouts.supervisor.spec import TaskId, TaskSpec, filled
from rollouts.supervisor.watch import Pulse, watch


class Surroundings:
    """What every task of one supervisor shares: its folders and whom to tell."""

    def __init__(self, state_dir: Path, say: Callable[[str], None]) -> None:
        self.state_dir = state_dir
        self.pids = PidBook(state_dir / "pids")
        self._say = say

    def log(self, name: str) -> LogFile:
        return LogFile(self.state_dir / "log" / f"{name}.log")

    def say(self, name: str, state: str, text: str) -> None:
        """One aligned line for the person who watches the terminal."""
        self._say(f"{name:<14} {state:<8} {text}".rstrip())


class Task:
    """``changed`` is called after every change that a client can see; True: the record too."""

    def __init__(
        self,
        task_id: TaskId,
        spec: TaskSpec,
        record: Record,
        around: Surroundings,
        changed: Callable[[bool], None],
    ) -> None:
        self.id = task_id
        self.spec = spec
        self.pulse = Pulse()
        self._around = around
        self._changed = changed
        self._watch: asyncio.Task[None] | None = None
        self._began = time.monotonic()
        job = Job(
            name=str(task_id),
            command=command(task_id, spec, record.port, around.state_dir),
            log=around.log(str(task_id)),
            grace_s=spec.grace_s,
            restart=spec.restart,
        )
        self.keeper = Keeper(job, record, around.pids, self)

    def began(self) -> None:
        self._stop_watch()
        self._began = time.monotonic()
        self.pulse = Pulse()
        self._watch = asyncio.create_task(
            watch(self.spec.health, self.keeper.record.port, self._found)
        )
        self._changed(False)

    def died(self, why: Exit, pause_s: float | None) -> None:
        self._stop_watch()
        self.pulse.end(why.text)
        again = "" if pause_s is None else f"; starts again in {pause_s:g} s"
        self._around.say(str(self.id), "died", why.text + again)
        self._changed(True)

    def moved(self) -> None:
        self._changed(False)

    async def stop(self) -> None:
        try:
            await self.keeper.stop()
        finally:
            self._stop_watch()
        self.pulse.end("stopped")

    def seen(self) -> dict[str, Any]:
        """What a client sees, as a JSON object."""
        record = self.keeper.record
        return {
            "id": str(self.id),
            "set": self.id.set,
            "index": self.id.index,
            "pid": self.keeper.pid,
            "host": HOST,
            "port": record.port,
            "state": self.keeper.state,
            "healthy": self.pulse.healthy,
            "health": self.pulse.text,
            "started_at": self.keeper.started_at,
            "exits": record.exits,
            "last_exit": vars(record.last_exit) if record.last_exit else None,
        }

    def _found(self, finding: Finding) -> None:
        changed = self.pulse.add(finding)
        if finding.healthy and self.keeper.state == "starting":
            took = time.monotonic() - self._began
            where = f"{HOST}:{self.keeper.record.port}   " if self.keeper.record.port else ""
            self._around.say(str(self.id), "running", f"{where}{took:.1f} s")
            self.keeper.move("running")
        elif changed:
            self._changed(False)

    def _stop_watch(self) -> None:
        if self._watch:
            self._watch.cancel()
            self._watch = None


def command(task_id: TaskId, spec: TaskSpec, port: int | None, state_dir: Path) -> Command:
    """The command with its placeholders filled, and PORT in its environment if it has a port."""

    def fill(text: str) -> str:
        return filled(text, port=port, index=task_id.index, state=str(state_dir))

    env = {name: fill(text) for name, text in spec.env}
    if port is not None:
        env.setdefault("PORT", str(port))
    return Command(tuple(fill(text) for text in spec.argv), env, spec.cwd)
