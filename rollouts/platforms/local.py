"""The platform ``local``: versions run as processes of this machine, under the supervisor.

Turns a service's versions into the supervisor's task sets and its answers into tasks. Owns no
process: web and workers may come and go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings

from rollouts.errors import PlatformRefused, PlatformStale, PlatformUnreachable
from rollouts.models import Service, Version
from rollouts.platforms.base import Joins, Pace, Task
from rollouts.supervisor.client import SupervisorClient, SupervisorRefused, SupervisorUnreachable

LOG_LINES = 20
STARTS_PER_TASK = 3


class LocalPlatform:
    pace = Pace()

    def __init__(self) -> None:
        self._supervisor = SupervisorClient(settings.SUPERVISOR_SOCKET)

    def deaths_allowed(self, tasks: int) -> int:
        return STARTS_PER_TASK * tasks

    def apply(
        self, service: Service, counts: Mapping[Version, int], *, revision: int, joins: Joins
    ) -> None:
        sets = [task_set(service, version, count) for version, count in counts.items()]
        try:
            self._supervisor.apply(group(service), revision, sets)
        except SupervisorUnreachable as error:
            raise PlatformUnreachable(str(error)) from error
        except SupervisorRefused as error:
            if error.stale:
                raise PlatformStale(str(error)) from error
            raise PlatformRefused(str(error)) from error

    def observe(self, service: Service) -> Mapping[int, Sequence[Task]]:
        try:
            answer = self._supervisor.observe(group(service))
        except SupervisorUnreachable as error:
            raise PlatformUnreachable(str(error)) from error
        except SupervisorRefused as error:
            raise PlatformRefused(str(error)) from error
        found: dict[int, list[Task]] = {}
        for row in answer["tasks"]:
            found.setdefault(int(row["set"]), []).append(_task(row))
        return found


def group(service: Service) -> str:
    return f"service-{service.pk}"


def task_set(service: Service, version: Version, count: int) -> dict[str, Any]:
    """What the supervisor should run for one version."""
    return {
        "set": str(version.pk),
        "count": count,
        "argv": version.command,
        "env": {"VERSION": version.label, **version.environment},
        "cwd": str(settings.BASE_DIR),
        "port": "auto",
        "health": {
            "kind": service.health_kind,
            "path": service.health_path or "/",
            "service": "",
            "interval_s": 0.5,
            "timeout_s": 1.0,
        },
        "grace_s": service.drain_s + 7.0,
        "restart": True,
    }


def _task(row: Mapping[str, Any]) -> Task:
    last = row["last_exit"]
    reason = "" if row["healthy"] else _reason(row)
    return Task(
        name=row["id"],
        index=row["index"],
        host=row["host"],
        port=row["port"],
        state=row["state"],
        healthy=row["healthy"],
        pid=row["pid"],
        exits=row["exits"],
        reason=reason or (last["text"] if last else ""),
        started_at=row["started_at"],
        log="\n".join(last["log"][-LOG_LINES:]) if last else "",
    )


def _reason(row: Mapping[str, Any]) -> str:
    """Why the task is not well, for a person: how it died and its last words, or its health.

    A task that runs had been well in this life: how an earlier one ended does not matter to it.
    """
    last = row["last_exit"]
    if last is None or row["state"] in ("running", "stopping"):
        return f"{row['id']} is {row['state']}; health: {row['health']}."
    words = f" Last line: {last['log'][-1]}" if last["log"] else ""
    return f"{last['text']}.{words}"
