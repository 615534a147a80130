"""ECS's API on top of ``scheduler`` and ``lifecycle``: what is patched, and the answers.

Replaces those of moto's functions that answer for tasks that don't exist. Errors have the codes of
botocore's model; their sentences are as close to ECS's as documents allow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import camelcase_to_underscores
from moto.ecs.models import EC2ContainerServiceBackend as Backend
from moto.ecs.models import ecs_backends
from moto.ecs.responses import (
    DESCRIBE_TASK_SETS_TAGS,
    DESCRIBE_TASKS_TAGS,
)
from moto.ecs.responses import EC2ContainerServiceResponse as Response

from tests.fakeaws import (
    control,
    ecs_services,
    ecs_sets,
    ecs_tasks,
    lifecycle,
    scheduler,
    world,
)
from tests.fakeaws.ecs_tasks import MOST_TASKS


def install() -> None:
    for name, function in REPLACED.items():
        setattr(Backend, name, function)
    for name, function in ANSWERS.items():
        setattr(Response, name, function)
    lifecycle.on_task(scheduler.balance)
    world.on_tick(scheduler.run)
    world.on_reset(_forget)
    control.VERBS["settle"] = lambda asked: scheduler.settle()


def _forget() -> None:
    """Everything is forgotten: processes of tasks end, without grace."""
    if lifecycle.engine is None:
        return
    for _account, _region, backend in ecs_backends.iter_backends():
        for task in scheduler.all_tasks(backend):  # type: ignore[arg-type]
            if task.started_at or task.last_status == "ACTIVATING":
                lifecycle.engine.stop(task.id, 0)


# What moto's responses leave out of the request or the reply.


def _missing(asked: list[str], known: set[str]) -> list[dict[str, str]]:
    return [
        {"arn": name, "reason": "MISSING"}
        for name in asked
        if name not in known and name.split("/")[-1] not in known
    ]


def answer_describe_tasks(self: Response) -> ActionResult:
    asked = self._get_param("tasks", [])
    found: list[Any] = self.ecs_backend.describe_tasks(self._get_param("cluster", "default"), asked)
    _tags(self, DESCRIBE_TASKS_TAGS)
    failures = _missing(asked, {task.id for task in found})
    return ActionResult({"tasks": found, "failures": failures})


def answer_describe_task_sets(self: Response) -> ActionResult:
    asked = self._get_param("taskSets", [])
    found = self.ecs_backend.describe_task_sets(
        self._get_param("cluster", "default"), self._get_param("service"), asked
    )
    _tags(self, DESCRIBE_TASK_SETS_TAGS)
    known = {each.id for each in found} | {each.task_set_arn for each in found}
    return ActionResult({"taskSets": found, "failures": _missing(asked, known)})


def _tags(self: Response, path: str) -> None:
    if "TAGS" in self._get_param("include", []):
        self._include_in_response(path)
    else:
        self._exclude_from_response(path)


def answer_list_tasks(self: Response) -> ActionResult:
    get = self._get_param
    found: list[Any] = self.ecs_backend.list_tasks(
        get("cluster", "default"), get("containerInstance"), get("family"), get("startedBy"),
        get("serviceName"), get("desiredStatus") or "RUNNING",
    )  # fmt: skip
    start, size = int(get("nextToken") or 0), int(get("maxResults") or MOST_TASKS)
    reply: dict[str, Any] = {"taskArns": [task.arn for task in found[start : start + size]]}
    if start + size < len(found):
        reply["nextToken"] = str(start + size)
    return ActionResult(reply)


def answer_delete_task_set(self: Response) -> ActionResult:
    deleted = ecs_sets.delete_task_set(
        self.ecs_backend, self._get_param("cluster"), self._get_param("service"),
        self._get_param("taskSet"), bool(self._get_param("force", False)),
    )  # fmt: skip
    return ActionResult({"taskSet": deleted})


_create_answer = Response.create_service


def answer_create_service(self: Response) -> ActionResult:
    """moto's, and then what moto doesn't pass on."""
    reply = _create_answer(self)
    made: Any = reply.result["service"]  # type: ignore[index]
    for name in ("deploymentConfiguration", "healthCheckGracePeriodSeconds",
                 "enableExecuteCommand", "availabilityZoneRebalancing",
                 "enableECSManagedTags"):  # fmt: skip
        if (value := self._get_param(name)) is not None:
            setattr(made, camelcase_to_underscores(name), value)
    scheduler.run(world.now())
    return reply


REPLACED: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        ecs_services.create_cluster, ecs_services.describe_clusters, ecs_services.list_clusters,
        ecs_services.delete_cluster, ecs_services.create_service, ecs_services.list_services,
        ecs_services.update_service, ecs_services.delete_service,
        ecs_sets.create_task_set, ecs_sets.describe_task_sets, ecs_sets.delete_task_set,
        ecs_sets.update_task_set, ecs_sets.update_service_primary_task_set,
        ecs_tasks.register_task_definition, ecs_tasks.describe_task_definition,
        ecs_tasks.delete_task_definitions, ecs_tasks.describe_tasks, ecs_tasks.list_tasks,
        ecs_tasks.run_task, ecs_tasks.stop_task,
    )
}  # fmt: skip
ANSWERS: dict[str, Callable[..., Any]] = {
    "describe_tasks": answer_describe_tasks,
    "describe_task_sets": answer_describe_task_sets,
    "list_tasks": answer_list_tasks,
    "delete_task_set": answer_delete_task_set,
    "create_service": answer_create_service,
}
