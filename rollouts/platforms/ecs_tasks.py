"""What runs: the tasks of each version as ECS and Cloud Map see them. Called by ``ecs``; no writes.

Four calls while nothing happens: the service, its tasks' names, the tasks, the revision of the
registry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from rollouts import aws
from rollouts.clock import moment
from rollouts.platforms import ecs_stopped as stopped
from rollouts.platforms.base import Task
from rollouts.platforms.ecs_place import Found, Place, TaskSet
from rollouts.platforms.ecs_registry import Health, health
from rollouts.platforms.ecs_stopped import Raw

AT_ONCE = 100  # ECS's limit
STATES = {"PROVISIONING": "starting", "PENDING": "starting", "ACTIVATING": "starting",
          "RUNNING": "running"}  # fmt: skip


@dataclass(frozen=True)
class _Look:
    """One look. ``raw``: tasks as ECS describes them; ``known``: failures seen before."""

    place: Place
    found: Found
    raw: Sequence[Raw]
    registry: Health
    known: Mapping[int, Sequence[Task]]
    now: datetime


def tasks_of(place: Place, found: Found) -> Mapping[int, Sequence[Task]]:
    """Tasks by version: those that should run, healthy and oldest first, then those that are being
    stopped, then the failed ones. Raises AwsError.
    """
    if not found.sets:
        return {}
    now = moment().now
    known = stopped.known(place.service, now)
    seen = [task.name for tasks in known.values() for task in tasks]
    event = str(found.events[0]["id"]) if found.events else ""
    wanted = _listed(place)
    at_rest = all(each.at_rest for each in found.sets)
    ended = stopped.names(place, event=event, at_rest=at_rest, seen=seen)
    raw = _described(place, [*wanted, *ended])
    seeing = _Look(place, found, raw, health(place), known, now)
    told = {pk: _of_version(seeing, pk) for pk in {each.version for each in found.sets}}
    said = (task for tasks in told.values() for task in tasks)
    stopped.note(place, event, described=raw, seen=seen, told=said)
    return told


def _of_version(seeing: _Look, pk: int) -> list[Task]:
    place, sets = seeing.place, [each for each in seeing.found.sets if each.version == pk]
    alive = [each for each in sets if each.alive]
    mine, every = _started_by(seeing.raw, alive), _started_by(seeing.raw, sets)
    failed = [task for task in mine if stopped.failed(task) and stopped.over(task)]
    new = [task for task in failed if stopped.recent(task, seeing.now)]
    failures = stopped.in_order(place, pk, new, seeing.known.get(pk, ()) if alive else ())
    running = _running(place, pk, mine, seeing.registry, say=not failures)
    told = running + _stopping(every, len(running)) + failures
    for each in alive:
        told += not_placed(place, seeing.found, each, told)
    return told


def _started_by(raw: Iterable[Raw], sets: Iterable[TaskSet]) -> list[Raw]:
    ids = {each.id for each in sets}
    return [task for task in raw if task.get("startedBy", "") in ids]


def _running(
    place: Place, pk: int, tasks: Iterable[Raw], registry: Health, *, say: bool
) -> list[Task]:
    """Those that should run, ranked. ``say`` why one is not well: a failure may say it better."""
    by_age = sorted(tasks, key=lambda task: (task["createdAt"], task["taskArn"]))
    running = [
        _task(place, pk, task, registry, say=say)
        for task in by_age
        if task["desiredStatus"] == "RUNNING"
    ]
    # Sorting is stable: the healthy come first and stay in order of their age.
    ranked = sorted(running, key=lambda task: not task.healthy)
    return [replace(task, index=index) for index, task in enumerate(ranked)]


def _stopping(tasks: Iterable[Raw], first_index: int) -> list[Task]:
    """Those that somebody or something ended, until they have. No port: nobody calls them."""
    ending = [t for t in tasks if t["desiredStatus"] == "STOPPED" and not stopped.over(t)]
    return [
        Task(raw["taskArn"].rpartition("/")[2], first_index + number, stopped.address(raw), None,
             "stopping", healthy=False)
        for number, raw in enumerate(ending)
    ]  # fmt: skip


def _task(place: Place, pk: int, raw: Raw, registry: Health, *, say: bool) -> Task:
    host = stopped.address(raw)
    alive = raw["lastStatus"] == "RUNNING" and raw.get("healthStatus") != "UNHEALTHY"
    healthy = alive and registry.get((place.target(pk), host), False)
    name = raw["taskArn"].rpartition("/")[2]
    started = raw.get("startedAt")
    return Task(
        name=name, index=0, host=host, port=int(place.own("Port")),
        state=STATES.get(raw["lastStatus"], "stopping"), healthy=healthy,
        reason=_why(raw, name) if say and not healthy else "",
        started_at=started.timestamp() if started else None,
    )  # fmt: skip


def _why(raw: Raw, name: str) -> str:
    if raw["lastStatus"] != "RUNNING":
        return f"The task {name[:8]} is {raw['lastStatus']}."
    return f"The task {name[:8]} runs; its health check does not pass."


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
