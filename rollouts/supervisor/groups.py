"""The task groups: holds what clients want, and makes it so.

`server.py` calls it for each request, `supervisor.py` at the start and at the end. All of it
runs on the event loop and nothing in it waits for a task, except `stop`.
"""

import asyncio
import time
from typing import Any

from rollouts.supervisor import ports
from rollouts.supervisor.errors import Refused
from rollouts.supervisor.keeper import Record
from rollouts.supervisor.plan import Actual, plan
from rollouts.supervisor.spec import GroupSpec, TaskId
from rollouts.supervisor.store import Stored, load, save
from rollouts.supervisor.task import Surroundings, Task


class Group:
    """``counter`` grows with every change; it starts at the clock, so that a client that
    remembers one from before a restart of the supervisor sees that it is another."""

    def __init__(self, spec: GroupSpec) -> None:
        self.spec = spec
        self.tasks: dict[TaskId, Task] = {}
        self.counter = time.time_ns() // 1_000_000
        self._news = asyncio.Event()

    def bump(self) -> None:
        self.counter += 1
        self._news.set()
        self._news = asyncio.Event()

    async def wait(self, seen: int, timeout_s: float) -> bool:
        """True as soon as the counter is not ``seen``; False after ``timeout_s`` seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.counter == seen:
                    await self._news.wait()
        except TimeoutError:
            return False
        return True


class Groups:
    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._file = around.state_dir / "tasks.json"
        self._groups: dict[str, Group] = {}
        self._records: dict[str, Record] = {}
        self._last_port = ports.any_port()
        self._stops: set[asyncio.Task[None]] = set()
        self._closed = False

    # What clients ask

    def apply(self, spec: GroupSpec) -> None:
        """Make ``spec`` the whole wish for its group. Raises Refused, and then nothing changes."""
        group = self._groups.get(spec.group) or Group(GroupSpec(spec.group))
        if self._closed:
            raise Refused("The supervisor is stopping.", permanent=False)
        if spec.revision < group.spec.revision:
            raise Refused(
                f"Revision {spec.revision} of {spec.group} is older than {group.spec.revision}, "
                "which has been applied.",
                stale=True,
            )
        self._refuse_taken_ports(spec)
        self._keep(group, spec)
        self._reconcile(group)

    def observe(self, name: str) -> dict[str, Any]:
        """The group as it is; one that nobody has asked for is simply empty."""
        group = self._groups.get(name)
        if group is None:
            return {"revision": 0, "tasks": [], "counter": 0}
        tasks = sorted(group.tasks.values(), key=lambda task: (task.id.set, task.id.index))
        return {
            "revision": group.spec.revision,
            "tasks": [task.seen() for task in tasks],
            "counter": group.counter,
        }

    def counts(self) -> dict[str, dict[str, int]]:
        return {
            name: {
                "revision": group.spec.revision,
                "wanted": len(group.spec.tasks()),
                "tasks": len(group.tasks),
                "healthy": sum(task.pulse.healthy for task in group.tasks.values()),
            }
            for name, group in self._groups.items()
        }

    async def wait(self, name: str, seen: int, timeout_s: float) -> bool:
        if name not in self._groups:
            self._groups[name] = Group(GroupSpec(name))
        return await self._groups[name].wait(seen, timeout_s)

    # Start and end of the supervisor

    def restore(self) -> None:
        """Start what was wanted when the last supervisor ended.

        Raises Refused when the state file cannot be understood.
        """
        stored = load(self._file)
        self._records = stored.records
        self._last_port = stored.last_port or self._last_port
        for spec in stored.groups:
            self._groups[spec.group] = Group(spec)
            self._leave_taken_ports(spec)
        for group in self._groups.values():
            self._reconcile(group)

    async def stop(self) -> None:
        """Stop every task. The wish stays on the disk for the next start."""
        self._closed = True
        await asyncio.gather(*(task.stop() for task in self._tasks()))
        await asyncio.gather(*self._stops)

    def kill(self) -> None:
        for task in self._tasks():
            task.keeper.kill()

    def keep_logs_short(self) -> None:
        for task in self._tasks():
            task.keeper.job.log.keep_short()

    # How it is made so

    def _tasks(self) -> list[Task]:
        return [task for group in self._groups.values() for task in group.tasks.values()]

    def _keep(self, group: Group, spec: GroupSpec) -> None:
        """Give ports to new tasks and write it all down before anything is done."""
        before = group.spec
        group.spec = spec
        self._groups[spec.group] = group
        for task_id, task in spec.tasks().items():
            record = self._records.setdefault(str(task_id), Record())
            if task.port != "auto":
                record.port = task.port
            elif record.port is None or not ports.ours(record.port):
                record.port = self._new_port()
        try:
            self._save()
        except OSError as error:
            group.spec = before
            raise Refused(
                f"Cannot write {self._file}: {error.strerror}.", permanent=False
            ) from error

    def _reconcile(self, group: Group) -> None:
        if self._closed:
            return
        wanted = group.spec.tasks()
        actual = {
            task.id: Actual(task.spec, stopping=task.keeper.stopping)
            for task in group.tasks.values()
        }
        todo = plan(wanted, actual)
        for task_id in todo.start:
            self._start(group, task_id)
        for task_id in todo.stop:
            stop = asyncio.create_task(self._stop(group, group.tasks[task_id]))
            self._stops.add(stop)
            stop.add_done_callback(self._stops.discard)
        group.bump()

    def _start(self, group: Group, task_id: TaskId) -> None:
        def changed(record_too: bool) -> None:
            group.bump()
            if record_too:
                self._save_or_say()

        spec = group.spec.tasks()[task_id]
        record = self._records.setdefault(str(task_id), Record())
        group.tasks[task_id] = Task(task_id, spec, record, self._around, changed)

    async def _stop(self, group: Group, task: Task) -> None:
        await task.stop()
        del group.tasks[task.id]
        self._around.say(str(task.id), "stopped", "")
        self._forget_sets_gone(group)
        self._reconcile(group)

    def _forget_sets_gone(self, group: Group) -> None:
        sets = {each.set for each in group.spec.sets} | {task.set for task in group.tasks}
        for name in list(self._records):
            group_name, set_name, _ = name.split("/")
            if group_name == group.spec.group and set_name not in sets:
                del self._records[name]
        self._save_or_say()

    # Ports

    def _new_port(self) -> int:
        taken = {record.port for record in self._records.values()}
        self._last_port = ports.next_port(self._last_port, taken)
        return self._last_port

    def _leave_taken_ports(self, spec: GroupSpec) -> None:
        """Another program may have taken a port since; its task gets a new one."""
        for task_id, task in spec.tasks().items():
            record = self._records.setdefault(str(task_id), Record())
            if task.port != "auto" or (record.port and ports.is_free(record.port)):
                continue
            old, record.port = record.port, self._new_port()
            if old:
                by = ports.holder(old) or "another program"
                text = f"from {old}, which is taken by {by}, to {record.port}"
                self._around.say(str(task_id), "moved", text)

    def _refuse_taken_ports(self, spec: GroupSpec) -> None:
        others = {
            task.port: task_id
            for group in self._groups.values()
            if group.spec.group != spec.group
            for task_id, task in group.spec.tasks().items()
        }
        for i, each in enumerate(spec.sets):
            if isinstance(each.task.port, int) and each.task.port in others:
                raise Refused(f"sets[{i}].port: {each.task.port} is of {others[each.task.port]}.")

    # The state file

    def _save(self) -> None:
        specs = [group.spec for group in self._groups.values()]
        save(self._file, Stored(specs, self._records, self._last_port))

    def _save_or_say(self) -> None:
        try:
            self._save()
        except OSError as error:
            self._around.say("tasks.json", "error", f"cannot be written: {error.strerror}")
