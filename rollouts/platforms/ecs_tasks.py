"""What runs: the tasks of each version as ECS and Cloud Map see them. Called by ``ecs``; no writes.

Four calls while nothing happens: the service, its tasks' names, the tasks, the revision of the
registry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rollouts import aws
from rollouts.platforms import ecs_stopped as stopped
from rollouts.platforms.base import Task
from rollouts.platforms.ecs_place import Found, Place, TaskSet
from rollouts.platforms.ecs_registry import Health, health
from rollouts.platforms.ecs_stopped import Raw

AT_ONCE = 100  # ECS's limit
STATES = {"PROVISIONING": "starting", "PENDING": "starting", "ACTIVATING": "starting",
          "RUNNING": "running"}  # fmt: skip


def tasks_of(place: Place, found: Found) -> Mapping[int, Sequence[Task]]:
    """Tasks by version: those that should run, healthy and oldest first, then the failed ones.

    Those of a set that is being removed are not told any more. Raises AwsError.
    """
    versions = {each.id: each.version for each in found.alive}
    if not versions:
        return {}
    known = stopped.known(place.service)
    event = str(found.events[0]["id"]) if found.events else ""
    wanted = _listed(place)
    ended = stopped.names(
        place, event=event, at_rest=all(each.at_rest for each in found.alive),
        seen=(task.name for tasks in known.values() for task in tasks),
    )  # fmt: skip
    raw = _described(place, [*wanted, *ended])
    registry = health(place)
    mine = {pk: [r for r in raw if versions.get(r.get("startedBy", "")) == pk]
            for pk in dict.fromkeys(versions.values())}  # fmt: skip
    told = {
        pk: _of_version(place, pk, tasks, known.get(pk, ()), registry) for pk, tasks in mine.items()
    }
    for each in found.alive:
        told[each.version] += not_placed(place, found, each, told[each.version])
    stopped.note(place, event, raw, (task for tasks in told.values() for task in tasks))
    return told


def _of_version(
    place: Place, pk: int, tasks: Sequence[Raw], old: Sequence[Task], registry: Health
) -> list[Task]:
    new = [task for task in tasks if stopped.over(task) and stopped.failed(task)]
    failures = stopped.in_order(place, pk, new, old)
    running = [
        _running(place, pk, task, registry, say=not failures)
        for task in sorted(tasks, key=lambda task: (task["createdAt"], task["taskArn"]))
        if task["desiredStatus"] == "RUNNING"
    ]
    # Sorting is stable: the healthy come first and stay in order of their age.
    ranked = sorted(running, key=lambda task: not task.healthy)
    return [_ranked(task, index) for index, task in enumerate(ranked)] + failures


def _running(place: Place, pk: int, raw: Raw, registry: Health, *, say: bool) -> Task:
    """``say``: why it is not well; there may be a failure that says it better."""
    host = stopped.address(raw)
    alive = raw["lastStatus"] == "RUNNING" and raw.get("healthStatus") != "UNHEALTHY"
    healthy = alive and registry.get((place.target(pk), host), False)
    name = raw["taskArn"].rpartition("/")[2]
    reason = "" if healthy or not say else _why(raw, name)
    started = raw.get("startedAt")
    return Task(
        name=name, index=0, host=host, port=int(place.own("Port")),
        state=STATES.get(raw["lastStatus"], "stopping"), healthy=healthy, reason=reason,
        started_at=started.timestamp() if started else None,
    )  # fmt: skip


def _why(raw: Raw, name: str) -> str:
    if raw["lastStatus"] != "RUNNING":
        return f"The task {name[:8]} is {raw['lastStatus']}."
    return f"The task {name[:8]} runs; its health check does not pass."


def _ranked(task: Task, index: int) -> Task:
    return replace(task, index=index)


def not_placed(place: Place, found: Found, of: TaskSet, told: Iterable[Task]) -> list[Task]:
    """A stand-in for tasks that ECS cannot make: without it nobody would hear why."""
    if of.running + of.pending >= of.desired:
        return []
    reason = stopped.cannot_place(found.events, of.id)
    if not reason:
        return []
    index = stopped.FIRST_INDEX + sum(task.index >= stopped.FIRST_INDEX for task in told)
    name = f"{place.target(of.version)}-waiting"
    return [Task(name, index, "", None, "waiting", healthy=False, reason=reason)]


def _listed(place: Place) -> list[str]:
    """ARNs of tasks that should run."""
    arns: list[Any] = aws.pages(
        place.account, "ecs", "list_tasks", "taskArns",
        cluster=place.cluster, serviceName=place.name, desiredStatus="RUNNING",
    )  # fmt: skip
    return [str(arn) for arn in arns]


def _described(place: Place, arns: Sequence[str]) -> list[Raw]:
    found: list[Raw] = []
    for at in range(0, len(arns), AT_ONCE):
        some = arns[at : at + AT_ONCE]
        found += place.call("describe_tasks", cluster=place.cluster, tasks=some)["tasks"]
    return found
