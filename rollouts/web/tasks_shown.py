"""Tasks as pages show them: by process on this machine, by task id and address on ECS.

Read by the service page; pure over rows that are already read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from rollouts.models import Service, Task, Version
from rollouts.web.cards import known

SHORT_DIGEST = 12


@dataclass(frozen=True)
class TaskRow:
    """One task. ``name``: what its platform calls it; ``state``: healthy, draining or its own.

    ``why`` is a word or two about a task that is not well; ``first`` of its version to be so for
    that reason: only there it is explained, for ECS tries again and again.
    """

    task: Task
    version: Version
    name: str
    address: str
    state: str
    why: str = ""
    first: bool = False

    @property
    def tint(self) -> str:
        if self.state == "healthy":
            return "succeeded"
        return "bad" if self.task.reason and self.state != "draining" else "quiet"


def task_rows(service: Service, tasks: Iterable[Task]) -> list[TaskRow]:
    """Rows of the page, in the order given; each task's ``version`` must be read along."""
    on_ecs = service.mesh.platform == "ecs"
    explained: set[tuple[int, str]] = set()
    rows = []
    for task in tasks:
        row = _row(task, on_ecs=on_ecs)
        if task.reason and not task.healthy:
            card = known(task.reason)
            why = card.title if card else task.reason
            first = (task.version_id, why) not in explained
            explained.add((task.version_id, why))
            row = replace(row, why=card.title if card else "", first=first)
        rows.append(row)
    return rows


def _row(task: Task, *, on_ecs: bool) -> TaskRow:
    name = task.name.rpartition("/")[2]
    if not on_ecs and task.pid:
        name = f"{name}, process {task.pid}"
    state = task.state
    if task.healthy:
        state = "draining" if task.draining else "healthy"
    address = f"{task.host}:{task.port}" if task.port else task.host
    return TaskRow(task, task.version, name, address or "—", state)


def task_noun(service: Service) -> str:
    """What one task is here, in words."""
    return "ECS task" if service.mesh.platform == "ecs" else "Process"


def image_of(version: Version) -> tuple[str, str]:
    """Repository and short digest of a version's image; two empty texts when it has none."""
    repository, _, digest = version.image.partition("@sha256:")
    return (repository.rpartition("/")[2] or repository, digest[:SHORT_DIGEST])
