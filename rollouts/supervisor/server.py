"""The unix socket of the supervisor: one JSON request a line, one JSON answer a line.

A door: it reads a request, calls `groups.py` or a fixed process, and answers. `client.py` is its
other end. Anybody who can open the socket can run programs as us, so only our own user can.
"""

import asyncio
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rollouts.supervisor.errors import Refused, StartFailed
from rollouts.supervisor.fields import Fields
from rollouts.supervisor.fixed import FixedProcess
from rollouts.supervisor.groups import Groups
from rollouts.supervisor.logs import LogFile
from rollouts.supervisor.spec import NAME, read_group, read_name
from rollouts.supervisor.task import Surroundings

MAX_LINE = 4_000_000
MAX_LOG_LINES = 2_000
MAX_WAIT_S = 60.0
# sockaddr_un holds 108 bytes on Linux and 104 on macOS, the final zero included.
MAX_PATH = 103

Answer = Mapping[str, Any]


class Server:
    """``fixed`` is looked at for each request: it fills up while the supervisor starts."""

    def __init__(
        self, groups: Groups, fixed: Mapping[str, FixedProcess], around: Surroundings
    ) -> None:
        self._groups = groups
        self._fixed = fixed
        self._around = around
        self._server: asyncio.Server | None = None
        self._restarts: set[asyncio.Task[None]] = set()
        self._ops = {
            "apply": self._apply,
            "observe": self._observe,
            "wait": self._wait,
            "groups": self._list_groups,
            "processes": self._list_processes,
            "log": self._log,
            "restart": self._restart,
        }

    async def open(self, path: Path) -> None:
        """Raises StartFailed when the path is too long for a socket."""
        if len(os.fsencode(path)) > MAX_PATH:
            raise StartFailed(
                f"The path {path} is too long for a socket: {MAX_PATH} bytes at most."
            )
        self._server = await asyncio.start_unix_server(
            self._serve, sock=_private_socket(path), limit=MAX_LINE
        )

    def close(self) -> None:
        if self._server:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                answer = await self.answer(line)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except ValueError:  # what StreamReader says of a line beyond the limit
            writer.write(json.dumps(_refusal(Refused("The request is too long."))).encode() + b"\n")
        except ConnectionError:  # the client has gone away, which is its right
            return
        finally:
            writer.close()

    async def answer(self, line: bytes) -> Answer:
        try:
            fields = Fields(_parsed(line))
            op = fields.text("op")
            if op not in self._ops:
                raise Refused(f"op must be one of {', '.join(self._ops)}, not {op!r}.")
            return {"ok": True, **await self._ops[op](fields)}
        except Refused as refused:
            return _refusal(refused)

    async def _apply(self, fields: Fields) -> Answer:
        fields.only(("op", "group", "revision", "sets"))
        self._groups.apply(read_group(fields))
        return {}

    async def _observe(self, fields: Fields) -> Answer:
        return self._groups.observe(read_name(fields, "group"))

    async def _wait(self, fields: Fields) -> Answer:
        group = read_name(fields, "group")
        seen = fields.whole("seen", 0, 2**53)
        timeout_s = fields.number("timeout_s", 0, MAX_WAIT_S, 5.0)
        changed = await self._groups.wait(group, seen, timeout_s)
        return {"changed": changed, **self._groups.observe(group)}

    async def _list_groups(self, _fields: Fields) -> Answer:
        return {"groups": self._groups.counts()}

    async def _list_processes(self, _fields: Fields) -> Answer:
        return {"processes": [each.seen() for each in self._fixed.values()]}

    async def _log(self, fields: Fields) -> Answer:
        lines = fields.whole("lines", 1, MAX_LOG_LINES, 200)
        if fields.has("task"):
            log = self._task_log(fields)
        else:
            log = self._around.log(self._named(fields).process.name)
        return {"lines": log.tail(lines)}

    async def _restart(self, fields: Fields) -> Answer:
        named = self._named(fields)
        if named.keeper.state == "ended":
            raise Refused(f"{named.process.name} runs once, at the start, and has ended.")
        restart = asyncio.create_task(named.keeper.restart())
        self._restarts.add(restart)
        restart.add_done_callback(self._restarts.discard)
        return {}

    def _named(self, fields: Fields) -> FixedProcess:
        name = fields.text("process")
        if name not in self._fixed:
            known = ", ".join(self._fixed) or "none yet"
            raise Refused(f"process must be one of {known}, not {name!r}.")
        return self._fixed[name]

    def _task_log(self, fields: Fields) -> LogFile:
        """Also of a task that has been stopped: its log stays."""
        name = fields.text("task")
        parts = name.split("/")
        if len(parts) == 3 and all(NAME.fullmatch(part) for part in parts):
            log = self._around.log(name)
            if log.path.exists():
                return log
        raise Refused(f"There is no log of a task {name!r}.")


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError as error:
        raise Refused(f"The request is not JSON: {error}.") from error


def _refusal(refused: Refused) -> Answer:
    answer = {"ok": False, "error": str(refused), "permanent": refused.permanent}
    return {**answer, "stale": True} if refused.stale else answer


def _private_socket(path: Path) -> socket.socket:
    """Born with mode 0600: a later chmod would leave a moment for others."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    return listener
