"""ECS's clusters and services. ``scheduler`` gives a service its tasks."""

from __future__ import annotations

from typing import Any

from moto.core.utils import utcnow
from moto.ecs.exceptions import (
    ECSException,
    InvalidParameterException,
    ServiceNotFoundException,
)
from moto.ecs.models import Cluster, Service
from moto.ecs.models import EC2ContainerServiceBackend as Backend
from moto.elbv2.models import elbv2_backends

from tests.fakeaws import scheduler, world
from tests.fakeaws.scheduler import Deployment

EXTERNAL_MAY_CHANGE = {
    "desired_count", "health_check_grace_period_seconds", "deployment_controller",
    "enable_ecs_managed_tags", "propagate_tags",
}  # fmt: skip

_describe_clusters = Backend.describe_clusters
_create_cluster = Backend.create_cluster


def create_cluster(self: Backend, cluster_name: str, *args: Any, **kwargs: Any) -> Cluster:
    existing = self.clusters.get(cluster_name)
    if existing and existing.status == "ACTIVE":
        return existing
    return _create_cluster(self, cluster_name, *args, **kwargs)


def describe_clusters(self: Backend, cluster_names: list[str]) -> Any:
    found, failures = _describe_clusters(self, cluster_names)
    for cluster in found:
        tasks = [task for task in scheduler.all_tasks(self) if task.cluster_name == cluster.name]
        cluster.running_tasks_count = sum(task.last_status == "RUNNING" for task in tasks)
        cluster.pending_tasks_count = sum(
            task.last_status in ("PROVISIONING", "PENDING", "ACTIVATING") for task in tasks
        )
        cluster.active_services_count = len(_active_services(self, cluster))
    return found, failures


def list_clusters(self: Backend) -> list[str]:
    return [cluster.arn for cluster in self.clusters.values() if cluster.status == "ACTIVE"]


def delete_cluster(self: Backend, cluster_str: str) -> Cluster:
    cluster = self._get_cluster(cluster_str)
    if _active_services(self, cluster):
        raise ECSException(
            "ClusterContainsServicesException",
            "The Cluster cannot be deleted while Services are active.",
        )
    tasks = [task for task in scheduler.all_tasks(self) if task.cluster_name == cluster.name]
    if any(task.last_status != "STOPPED" for task in tasks):
        raise ECSException(
            "ClusterContainsTasksException",
            "The Cluster cannot be deleted while Tasks are active.",
        )
    cluster.status = "INACTIVE"
    return cluster


def _active_services(self: Backend, cluster: Cluster) -> list[Service]:
    return [
        service
        for service in self.services.values()
        if service.cluster_name == cluster.name and service.status != "INACTIVE"
    ]


def create_service(
    self: Backend,
    cluster_str: str,
    service_name: str,
    desired_count: int | None,
    task_definition_str: str | None = None,
    load_balancers: list[dict[str, Any]] | None = None,
    *args: Any,
    **kwargs: Any,
) -> Service:
    cluster = self._get_cluster(cluster_str)
    if cluster.status != "ACTIVE":
        raise ECSException("ClusterNotFoundException", "Cluster not found.")
    existing = self.services.get(f"{cluster.name}:{service_name}")
    if existing and existing.status == "DRAINING":
        raise InvalidParameterException("Unable to Start a service that is still Draining.")
    if existing and existing.status == "ACTIVE":
        raise InvalidParameterException("Creation of service was not idempotent.")
    check_target_groups(self, load_balancers)
    made = _make_service(
        self, cluster, service_name, desired_count or 0, task_definition_str, load_balancers,
        *args, **kwargs,
    )  # fmt: skip
    self.services[f"{cluster.name}:{service_name}"] = made
    return made


def _make_service(
    self: Backend,
    cluster: Cluster,
    name: str,
    desired_count: int,
    definition: str | None,
    load_balancers: list[dict[str, Any]] | None,
    scheduling_strategy: Any = None,
    tags: Any = None,
    deployment_controller: Any = None,
    launch_type: str | None = None,
    **kwargs: Any,
) -> Service:
    external = (deployment_controller or {}).get("type") == "EXTERNAL"
    if not external and not definition:
        raise InvalidParameterException("TaskDefinition can not be blank.")
    found = self.describe_task_definition(definition) if definition else None
    made = Service(  # type: ignore[abstract]
        cluster, name, desired_count, self, found, load_balancers, scheduling_strategy, tags,
        deployment_controller, launch_type or "FARGATE", **kwargs,
    )  # fmt: skip
    made.deployments = []
    extra: Any = made
    extra.created_at = utcnow()
    if not external:
        _deploy(made)
    return made


def _deploy(service: Service) -> None:
    """A new PRIMARY deployment of what the service says; the last one becomes ACTIVE."""
    deployments: list[Any] = service.deployments
    for earlier in deployments:
        earlier.status = "ACTIVE"
    made = Deployment(
        str(service.task_definition),
        service.desired_count,
        service.network_configuration,
        service.launch_type or "FARGATE",
    )
    made.rollout_state_reason = f"ECS deployment {made.id} in progress."
    service.deployments = [made, *deployments]  # type: ignore[list-item]


def check_target_groups(self: Backend, load_balancers: list[dict[str, Any]] | None) -> None:
    """ECS refuses a target group that no listener or rule leads to."""
    backend = elbv2_backends[self.account_id][self.region_name]
    for each in load_balancers or ():
        arn = each.get("targetGroupArn")
        if not arn:
            continue
        if arn not in backend.target_groups:
            raise InvalidParameterException(
                f"The target group with targetGroupArn {arn} does not exist."
            )
        if not _attached(backend, arn):
            raise InvalidParameterException(
                f"The target group with targetGroupArn {arn} does not have an associated load"
                " balancer."
            )


def _attached(backend: Any, arn: str) -> bool:
    for balancer in backend.load_balancers.values():
        for listener in balancer.listeners.values():
            rules = [listener.default_actions, *(each.actions for each in listener.rules.values())]
            if any(arn in str(action.data) for actions in rules for action in actions):
                return True
    return False


def list_services(self: Backend, cluster_str: str, *_: Any, **__: Any) -> list[str]:
    cluster = self._get_cluster(cluster_str)
    return sorted(
        service.arn
        for service in self.services.values()
        if service.cluster_name == cluster.name and service.status == "ACTIVE"
    )


def update_service(self: Backend, service_properties: dict[str, Any]) -> Service:
    asked = {key: value for key, value in service_properties.items() if value is not None}
    service = service_of(self, asked.pop("cluster", "default"), asked.pop("service"))
    force = asked.pop("force_new_deployment", False)
    external = service.deployment_controller["type"] == "EXTERNAL"
    if external and (refused := sorted(set(asked) - EXTERNAL_MAY_CHANGE)):
        raise InvalidParameterException(
            f"Unable to update {', '.join(refused)} on services with an EXTERNAL deployment"
            " controller."
        )
    definition = asked.pop("task_definition", None)
    if definition:
        definition = self.describe_task_definition(definition).arn
    redeploy = force or (definition and definition != service.task_definition)
    redeploy = redeploy or any(
        key in asked and getattr(service, key, None) != asked[key]
        for key in ("network_configuration", "load_balancers", "service_registries")
    )
    check_target_groups(self, asked.get("load_balancers"))
    for key, value in asked.items():
        setattr(service, key, value)
    service.task_definition = definition or service.task_definition
    if redeploy:
        _deploy(service)
    for deployment in service.deployments[:1]:
        deployment.desired_count = service.desired_count  # type: ignore[attr-defined]
    scheduler.run(world.now())
    return service


def service_of(self: Backend, cluster: str, name: str) -> Service:
    found = self.services.get(f"{self._get_cluster(cluster).name}:{name.split('/')[-1]}")
    if found is None:
        raise ServiceNotFoundException
    if found.status == "INACTIVE":
        raise ECSException("ServiceNotActiveException", "Service was not ACTIVE.")
    return found


def delete_service(self: Backend, cluster_name: str, service_name: str, force: bool) -> Service:
    service = service_of(self, cluster_name, service_name)
    if not force and any(scheduler.wanted(service, each) for each in scheduler.owners(service)):
        raise InvalidParameterException("The service cannot be stopped while it is scaled above 0.")
    service.status, service.desired_count = "DRAINING", 0
    for owner in service.task_sets:
        owner.status = "DRAINING"
    scheduler.run(world.now())
    return service
