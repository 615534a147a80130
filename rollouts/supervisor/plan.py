"""What to start and what to stop so that a group becomes what is wanted.

`groups.py` calls it after every wish and after every task that has ended. Pure: no clock, no IO.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rollouts.supervisor.spec import TaskId, TaskSpec


@dataclass(frozen=True)
class Actual:
    """A task that exists now; ``stopping`` ones cannot be used again, only waited for."""

    spec: TaskSpec
    stopping: bool = False


@dataclass(frozen=True)
class Plan:
    start: tuple[TaskId, ...] = ()
    stop: tuple[TaskId, ...] = ()


def plan(wanted: Mapping[TaskId, TaskSpec], actual: Mapping[TaskId, Actual]) -> Plan:
    """The difference only: what is as wanted is left alone.

    A task with a changed spec is stopped now and started by the plan after its end, because both
    may need the same port.
    """
    return Plan(
        start=tuple(task for task in wanted if task not in actual),
        stop=tuple(
            task
            for task, now in actual.items()
            if not now.stopping and wanted.get(task) != now.spec
        ),
    )
