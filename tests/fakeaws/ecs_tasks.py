"""ECS's task definitions and tasks, as the API shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.core.utils import utcnow
from moto.ecs.exceptions import (
    EcsClientException,
    InvalidParameterException,
    TaskDefinitionNotFoundException,
)
from moto.ecs.models import EC2ContainerServiceBackend as Backend
from moto.ecs.models import TaskDefinition

from tests.fakeaws import lifecycle, scheduler, world
from tests.fakeaws.lifecycle import Task

MOST_TASKS = 100

_register = Backend.register_task_definition
_describe_definition = Backend.describe_task_definition


def register_task_definition(self: Backend, *args: Any, **kwargs: Any) -> TaskDefinition:
    if "FARGATE" in (kwargs.get("requires_compatibilities") or ()):
        for name in ("cpu", "memory"):
            if not kwargs.get(name):
                raise EcsClientException(
                    f"Fargate requires that '{name}' be defined at the task level."
                )
    made = _register(self, *args, **kwargs)
    found: Any = made
    found.registered_at = utcnow()
    return made


def describe_task_definition(self: Backend, task_definition_str: str) -> TaskDefinition:
    """By family: the latest ACTIVE revision, which moto forgets to ask for."""
    name = task_definition_str.split("/")[-1]
    if ":" not in name:
        revisions = self.task_definitions.get(name, {})
        active = [number for number, each in revisions.items() if each.status == "ACTIVE"]
        if not active:
            raise TaskDefinitionNotFoundException
        name = f"{name}:{max(active)}"
    return _describe_definition(self, name)


def delete_task_definitions(self: Backend, task_definitions: list[str]) -> Any:
    """Deleted revisions stay in the way of their number, so that it isn't given again."""
    if not 1 <= len(task_definitions) <= 10:
        raise InvalidParameterException("Between 1 and 10 task definitions can be deleted.")
    deleted, failures = [], []
    for name in task_definitions:
        family, _, revision = name.split("/")[-1].partition(":")
        found = self.task_definitions.get(family, {}).get(int(revision or 0))
        if found is None or found.status == "ACTIVE":
            why = "does not exist" if found is None else "is still in ACTIVE status"
            failures.append({"arn": name, "reason": f"The specified task definition {why}."})
            continue
        found.status = "DELETE_IN_PROGRESS"
        deleted.append(found)
    return deleted, failures


def describe_tasks(self: Backend, cluster_str: str, tasks: list[str]) -> list[Task]:
    cluster = self._get_cluster(cluster_str)
    if not 1 <= len(tasks) <= MOST_TASKS:
        raise InvalidParameterException(f"Between 1 and {MOST_TASKS} tasks can be described.")
    ids = {name.split("/")[-1] for name in tasks}
    return [
        task
        for task in scheduler.all_tasks(self)
        if task.cluster_name == cluster.name and task.id in ids
    ]


def list_tasks(
    self: Backend,
    cluster_str: str | None = None,
    container_instance: str | None = None,
    family: str | None = None,
    started_by: str | None = None,
    service_name: str | None = None,
    desired_status: str | None = "",
) -> list[Task]:
    """As ECS: those that should run, unless ``desired_status`` says otherwise."""
    tests: list[Callable[[Task], bool]] = []
    if cluster_str:
        cluster = self._get_cluster(cluster_str).name
        tests.append(lambda task: task.cluster_name == cluster)
    if service_name:
        tests.append(lambda task: task.group == f"service:{service_name.split('/')[-1]}")
    if family:
        tests.append(lambda task: task.definition.family == family)
    if started_by:
        tests.append(lambda task: task.started_by == started_by)
    if desired_status != "":  # moto itself asks for every task, by leaving it out
        tests.append(lambda task: task.desired_status == (desired_status or "RUNNING"))
    return [task for task in scheduler.all_tasks(self) if all(test(task) for test in tests)]


def run_task(
    self: Backend,
    cluster_str: str,
    task_definition_str: str,
    count: int,
    overrides: dict[str, Any] | None,
    started_by: str,
    tags: list[dict[str, str]] | None,
    launch_type: str | None,
    networking_configuration: dict[str, Any] | None = None,
    group: str | None = None,
    *_: Any,
    **__: Any,
) -> list[Task]:
    definition = self.describe_task_definition(task_definition_str)
    network = networking_configuration or {}
    if definition.network_mode == "awsvpc" and not network:
        raise InvalidParameterException(
            "Network Configuration must be provided when networkMode 'awsvpc' is specified."
        )
    return [
        scheduler.launch(
            self,
            cluster=self._get_cluster(cluster_str).name,
            definition=definition,
            now=world.now(),
            group=group or f"family:{definition.family}",
            started_by=started_by or "",
            launch_type=launch_type or "FARGATE",
            overrides=overrides or {},
            tags=tags or [],
        )
        for _ in range(count or 1)
    ]


def stop_task(self: Backend, cluster_str: str, task_str: str, reason: str) -> Task:
    found = describe_tasks(self, cluster_str, [task_str])
    if not found:
        raise InvalidParameterException("The referenced task was not found.")
    lifecycle.stop(found[0], "UserInitiated", reason or "Task stopped by user")
    scheduler.run(world.now())
    return found[0]
