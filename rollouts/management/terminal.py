"""What ``manage.py up`` prints, in one column and in words: tasks by service and version.

Lines come from the supervisor's event loop, which must not wait for a database, and from the
thread that greets; one thread of our own names the tasks and writes everything in order.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from queue import SimpleQueue

from django.db import DatabaseError

from rollouts.models import Version

STATUS = re.compile(r"(?P<name>[a-z][a-z0-9./-]*) +(?P<state>[a-z]+)(?: +(?P<text>.*))?")
TASK = re.compile(r"service-\d+/(?P<version>\d+)/(?P<index>\d+)")
STACK = re.compile(r"stack-\d+/(?P<set>[a-z]+)/\d+")
STATES = ("ready", "done", "running", "died", "stopped", "ended", "moved", "killing")


class Terminal:
    """``say`` never blocks; ``close`` returns when everything is written."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._labels: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def say(self, line: str) -> None:
        self._lines.put(line)

    def close(self) -> None:
        self._lines.put(None)
        self._thread.join(2.0)

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            self._write(self.in_words(line))

    def in_words(self, line: str) -> str:
        """A status line with the task's name instead of its id; any other line as it is."""
        found = STATUS.fullmatch(line)
        if found is None or found["state"] not in STATES:
            return line
        return f"{self._name(found['name']):<19} {found['state']:<8} {found['text'] or ''}".rstrip()

    def _name(self, name: str) -> str:
        if stack := STACK.fullmatch(name):
            return stack["set"]
        task = TASK.fullmatch(name)
        if task is None:
            return name
        label = self._label(task["version"])
        return f"{label} #{int(task['index']) + 1}" if label else name

    def _label(self, pk: str) -> str:
        """ "echo-server 1.0"; empty when the database does not answer or knows no such version."""
        if pk not in self._labels:
            try:
                version = Version.objects.select_related("service").filter(pk=int(pk)).first()
            except DatabaseError:
                return ""
            if version is None:
                return ""
            self._labels[pk] = f"{version.service.slug} {version.label}"
        return self._labels[pk]
