"""ECS's task sets: versions of an EXTERNAL service, side by side."""

from __future__ import annotations

from typing import Any

from moto.core.utils import utcnow
from moto.ecs.exceptions import (
    EcsClientException,
    ECSException,
    InvalidParameterException,
    TaskSetNotFoundException,
)
from moto.ecs.models import EC2ContainerServiceBackend as Backend
from moto.ecs.models import Service

from tests.fakeaws import scheduler, world
from tests.fakeaws.ecs_services import check_target_groups, service_of
from tests.fakeaws.scheduler import FakeTaskSet


def create_task_set(
    self: Backend, service: str, cluster_str: str, task_definition: str, **asked: Any
) -> FakeTaskSet:
    found = service_of(self, cluster_str, service)
    if found.deployment_controller["type"] != "EXTERNAL":
        raise InvalidParameterException(
            "A task set can only be created on a service with an EXTERNAL deployment controller."
        )
    definition = self.describe_task_definition(task_definition)
    if definition.status != "ACTIVE":
        raise EcsClientException("TaskDefinition is inactive")
    fingerprint = (definition.arn, repr(sorted(asked.items(), key=lambda item: item[0])))
    if repeated := _repeated(found, asked.get("client_token"), fingerprint):
        return repeated
    check_target_groups(self, asked.get("load_balancers"))
    _check_scale(asked.get("scale"))
    return _add_task_set(self, found, definition, fingerprint, asked)


def _add_task_set(
    self: Backend, service: Service, definition: Any, fingerprint: Any, asked: dict[str, Any]
) -> FakeTaskSet:
    made = FakeTaskSet(
        service.name, service.cluster_name, definition.arn, self.account_id, self.region_name,
        **asked,
    )  # fmt: skip
    made.id = scheduler.new_id()
    made.task_set_arn = made.task_set_arn.rpartition("/ecs-svc/")[0] + "/" + made.id
    made.service_arn, made.cluster_arn = service.arn, service.cluster_arn
    made.launch_type = made.launch_type or "FARGATE"
    made.stabilityStatus = "STABILIZING"
    made.fingerprint = fingerprint  # type: ignore[attr-defined]
    service.task_sets.append(made)
    scheduler.run(world.now())
    return made


def _check_scale(scale: dict[str, Any] | None) -> None:
    if scale and not 0 <= float(scale.get("value", 100)) <= 100:
        raise InvalidParameterException("The scale value must be between 0 and 100 percent.")


def _repeated(service: Service, token: str | None, fingerprint: Any) -> FakeTaskSet | None:
    """The task set that the same request made before; a token for another request is refused."""
    for each in service.task_sets:
        if token and each.client_token == token:
            if each.fingerprint != fingerprint:  # type: ignore[attr-defined]
                raise InvalidParameterException(
                    "The client token was used before with other parameters."
                )
            return each  # type: ignore[return-value]
    return None


def describe_task_sets(
    self: Backend, cluster_str: str, service: str, task_sets: list[str]
) -> list[FakeTaskSet]:
    every: list[Any] = service_of(self, cluster_str, service).task_sets
    if not task_sets:
        return every
    return [each for each in every if each.id in task_sets or each.task_set_arn in task_sets]


def _task_set(self: Backend, cluster: str, service: str, name: str) -> FakeTaskSet:
    found = describe_task_sets(self, cluster, service, [name])
    if not found:
        raise ECSException("TaskSetNotFoundException", TaskSetNotFoundException().message)
    return found[0]


def delete_task_set(
    self: Backend, cluster: str, service: str, task_set: str, force: bool = False
) -> FakeTaskSet:
    found = _task_set(self, cluster, service, task_set)
    owner = service_of(self, cluster, service)
    if found.status == "PRIMARY" and not force and scheduler.wanted(owner, found):
        raise InvalidParameterException(
            "The PRIMARY task set cannot be deleted while it is scaled above 0. Use force."
        )
    found.status, found.updatedAt = "DRAINING", utcnow()
    scheduler.run(world.now())
    return found


def update_task_set(
    self: Backend, cluster: str, service: str, task_set: str, scale: dict[str, Any]
) -> FakeTaskSet:
    found = _task_set(self, cluster, service, task_set)
    if found.status == "DRAINING":
        raise InvalidParameterException("The task set is draining.")
    _check_scale(scale)
    found.scale, found.updatedAt = scale, utcnow()
    scheduler.run(world.now())
    return found


def update_service_primary_task_set(
    self: Backend, cluster: str, service: str, primary_task_set: str
) -> FakeTaskSet:
    found = _task_set(self, cluster, service, primary_task_set)
    if found.status == "DRAINING":
        raise InvalidParameterException("The task set is draining.")
    owner = service_of(self, cluster, service)
    for each in owner.task_sets:
        if each.status == "PRIMARY":
            each.status = "ACTIVE"
    found.status, found.updatedAt = "PRIMARY", utcnow()
    for name in ("task_definition", "load_balancers", "service_registries", "launch_type",
                 "platform_version", "network_configuration"):  # fmt: skip
        setattr(owner, name, getattr(found, name))
    return found
