"""The client of the supervisor, for everything outside of it: web pages, workers, commands.

Blocking and small: each call opens the socket, sends one line, reads one line and closes.
"""

import json
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rollouts.errors import MeshuiError

Answer = dict[str, Any]


class SupervisorUnreachable(MeshuiError):
    """No answer: it is not running, or it is stopping, or it took too long. Try again."""


class SupervisorRefused(MeshuiError):
    """It answered no, with a sentence that says why.

    ``permanent``: the same request will be refused again. ``stale``: a newer revision of the
    group has been applied already.
    """

    def __init__(self, text: str, *, permanent: bool = True, stale: bool = False) -> None:
        super().__init__(text, permanent=permanent)
        self.stale = stale


class SupervisorClient:
    """``timeout_s`` is for a whole answer; `wait` adds the time that it asks for.

    Every method raises SupervisorUnreachable or SupervisorRefused. The answers are the JSON
    objects of the protocol, with "ok".
    """

    def __init__(self, socket_path: Path | str, timeout_s: float = 2.0) -> None:
        self._path = str(socket_path)
        self._timeout_s = timeout_s

    def apply(self, group: str, revision: int, sets: Sequence[Mapping[str, Any]]) -> None:
        """Make ``sets`` everything that the group runs. Returns before it does."""
        self._ask({"op": "apply", "group": group, "revision": revision, "sets": list(sets)})

    def observe(self, group: str) -> Answer:
        """``revision``, ``counter`` and ``tasks``; a group nobody applied has no tasks."""
        return self._ask({"op": "observe", "group": group})

    def wait(self, group: str, seen: int, timeout_s: float = 5.0) -> Answer:
        """As `observe`, once the counter is not ``seen`` any more or the time is up.

        ``changed`` says which. At most 60 seconds.
        """
        request = {"op": "wait", "group": group, "seen": seen, "timeout_s": timeout_s}
        return self._ask(request, longer_s=timeout_s)

    def groups(self) -> dict[str, dict[str, int]]:
        """For each group its ``revision`` and how many tasks are wanted, there and healthy."""
        groups: dict[str, dict[str, int]] = self._ask({"op": "groups"})["groups"]
        return groups

    def processes(self) -> list[Answer]:
        """The fixed processes that have been started, in order."""
        processes: list[Answer] = self._ask({"op": "processes"})["processes"]
        return processes

    def log(
        self, *, task: str | None = None, process: str | None = None, lines: int = 200
    ) -> list[str]:
        """The last lines of a task ("service-3/12/0") or of a fixed process."""
        of = {"task": task} if task is not None else {"process": process}
        found: list[str] = self._ask({"op": "log", "lines": lines, **of})["lines"]
        return found

    def restart(self, process: str) -> None:
        """Stop a fixed process and start it again. Returns before it does."""
        self._ask({"op": "restart", "process": process})

    def _ask(self, request: Mapping[str, Any], *, longer_s: float = 0.0) -> Answer:
        line = self._exchange(json.dumps(request).encode() + b"\n", self._timeout_s + longer_s)
        try:
            answer: Answer = json.loads(line)
        except ValueError as error:
            raise SupervisorUnreachable(f"{self._path} gave half an answer.") from error
        if not answer["ok"]:
            raise SupervisorRefused(
                answer["error"], permanent=answer["permanent"], stale=answer.get("stale", False)
            )
        return answer

    def _exchange(self, line: bytes, timeout_s: float) -> bytes:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(timeout_s)
                connection.connect(self._path)
                connection.sendall(line)
                with connection.makefile("rb") as answers:
                    return answers.readline()
        except OSError as error:
            reason = error.strerror or str(error)
            raise SupervisorUnreachable(
                f"The supervisor does not answer at {self._path}: {reason}."
            ) from error
