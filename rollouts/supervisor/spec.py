"""What a client wants to run: task groups, their sets, and the health check of a task.

`server.py` reads requests into these values and `store.py` reads the state file with the same
code, so that both are checked alike. Everything in here is pure.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rollouts.supervisor.errors import Refused
from rollouts.supervisor.fields import Fields

MAX_TASKS_OF_A_SET = 50
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PLACEHOLDER = re.compile(r"\{(\w+)\}")
KNOWN_PLACEHOLDERS = ("port", "index", "python", "state")
HEALTH_FIELDS = ("kind", "path", "service", "interval_s", "timeout_s")
SET_FIELDS = ("set", "count", "argv", "env", "cwd", "port", "health", "grace_s", "restart")
Port = Literal["auto"] | int | None


@dataclass(frozen=True)
class TaskId:
    group: str
    set: str
    index: int

    def __str__(self) -> str:
        return f"{self.group}/{self.set}/{self.index}"


@dataclass(frozen=True)
class Health:
    """How to ask a task whether it works. ``kind`` is one of grpc, http, tcp, none."""

    kind: str = "none"
    path: str = "/"
    service: str = ""
    interval_s: float = 0.5
    timeout_s: float = 1.0


@dataclass(frozen=True)
class TaskSpec:
    """What each task of a set runs. ``env`` is sorted pairs, so that equal means the same."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    cwd: str | None = None
    port: Port = None
    health: Health = Health()
    grace_s: float = 7.0
    restart: bool = True


@dataclass(frozen=True)
class SetSpec:
    set: str
    count: int
    task: TaskSpec


@dataclass(frozen=True)
class GroupSpec:
    group: str
    revision: int = 0
    sets: tuple[SetSpec, ...] = ()

    def tasks(self) -> dict[TaskId, TaskSpec]:
        """Every task that should run."""
        return {
            TaskId(self.group, each.set, index): each.task
            for each in self.sets
            for index in range(each.count)
        }


def read_group(fields: Fields) -> GroupSpec:
    """Raises Refused with a sentence that names the wrong field."""
    group = read_name(fields, "group")
    revision = fields.whole("revision", 0, 2**53)
    sets = tuple(_read_set(each) for each in fields.objects("sets"))
    _refuse_doubles(sets)
    return GroupSpec(group, revision, sets)


def read_name(fields: Fields, field: str) -> str:
    name = fields.text(field)
    if not NAME.fullmatch(name):
        raise Refused(
            f"{fields.name(field)} must be 1 to 64 letters, digits, dots, dashes or underscores, "
            "with a letter or a digit first."
        )
    return name


def _read_set(fields: Fields) -> SetSpec:
    fields.only(SET_FIELDS)
    port = _read_port(fields)
    task = TaskSpec(
        argv=fields.texts("argv"),
        env=tuple(sorted(fields.mapping("env").items())),
        cwd=fields.text("cwd") if fields.has("cwd") else None,
        port=port,
        health=_read_health(fields.inner("health"), port),
        grace_s=fields.number("grace_s", 0, 300, 7.0),
        restart=fields.flag("restart", default=True),
    )
    count = fields.whole("count", 0, MAX_TASKS_OF_A_SET)
    if isinstance(port, int) and count > 1:
        raise Refused(f"{fields.name('count')} must be 0 or 1 when the port is a number.")
    _check_command(fields, task)
    return SetSpec(read_name(fields, "set"), count, task)


def _read_port(fields: Fields) -> Port:
    port = fields.raw("port")
    if port is None or port == "auto":
        return "auto" if port else None
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise Refused(f'{fields.name("port")} must be "auto", a port number or null.')
    return port


def _read_health(fields: Fields, port: Port) -> Health:
    fields.only(HEALTH_FIELDS)
    kind = fields.text("kind", "none")
    if kind not in ("grpc", "http", "tcp", "none"):
        raise Refused(f"{fields.name('kind')} must be grpc, http, tcp or none.")
    if kind != "none" and port is None:
        raise Refused(f"{fields.name('kind')} is {kind}, but the port is null.")
    path = fields.text("path", "/")
    if not re.fullmatch(r"/[!-~]*", path):
        raise Refused(f"{fields.name('path')} must start with / and have no blanks.")
    return Health(
        kind=kind,
        path=path,
        service=fields.text("service", "") if fields.has("service") else "",
        interval_s=fields.number("interval_s", 0.05, 60, 0.5),
        timeout_s=fields.number("timeout_s", 0.05, 60, 1.0),
    )


def _check_command(fields: Fields, task: TaskSpec) -> None:
    if not task.argv[0]:
        raise Refused(f"{fields.name('argv')}[0] must name a program.")
    texts = [("argv", text) for text in task.argv] + [("env", text) for _, text in task.env]
    for field, text in texts:
        for word in PLACEHOLDER.findall(text):
            if word not in KNOWN_PLACEHOLDERS:
                raise Refused(f"{fields.name(field)} has an unknown placeholder {{{word}}}.")
            if word == "port" and task.port is None:
                raise Refused(f"{fields.name(field)} uses {{port}}, but the port is null.")


def _refuse_doubles(sets: tuple[SetSpec, ...]) -> None:
    names: set[str] = set()
    ports: set[int] = set()
    for i, each in enumerate(sets):
        if each.set in names:
            raise Refused(f"sets[{i}].set names {each.set} a second time.")
        names.add(each.set)
        if isinstance(each.task.port, int) and each.count:
            if each.task.port in ports:
                raise Refused(f"sets[{i}].port asks for {each.task.port} a second time.")
            ports.add(each.task.port)


def filled(text: str, *, port: int | None, index: int, state: str) -> str:
    """``text`` with its placeholders replaced; other braces stay as they are."""
    words = {"port": str(port), "index": str(index), "python": sys.executable, "state": state}
    return PLACEHOLDER.sub(lambda found: words[found.group(1)], text)


def written(spec: GroupSpec) -> dict[str, Any]:
    """The JSON object that `read_group` reads back to an equal value."""
    return {
        "group": spec.group,
        "revision": spec.revision,
        "sets": [_written_set(each) for each in spec.sets],
    }


def _written_set(each: SetSpec) -> Mapping[str, Any]:
    task = each.task
    return {
        "set": each.set,
        "count": each.count,
        "argv": list(task.argv),
        "env": dict(task.env),
        "cwd": task.cwd,
        "port": task.port,
        "health": vars(task.health),
        "grace_s": task.grace_s,
        "restart": task.restart,
    }
