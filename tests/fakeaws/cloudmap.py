"""Cloud Map as ECS feeds it: instances of RUNNING tasks, their health, and a growing revision.

``lifecycle`` tells of tasks. moto's own part is kept but for the revision, which it forgets when an
instance goes, and for deletions that the real service refuses.
"""

from __future__ import annotations

import json
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.servicediscovery.models import (
    Service,
    ServiceDiscoveryBackend,
    ServiceInstance,
    servicediscovery_backends,
)
from moto.servicediscovery.responses import ServiceDiscoveryResponse

from tests.fakeaws import lifecycle
from tests.fakeaws.lifecycle import Task

Backend = ServiceDiscoveryBackend
Response = ServiceDiscoveryResponse
MOST_INSTANCES = 100

_register = Backend.register_instance
_deregister = Backend.deregister_instance
_set_health = Backend.update_instance_custom_health_status
_delete_service = Backend.delete_service
_delete_namespace = Backend.delete_namespace
_create_service = Backend.create_service


class InUse(JsonRESTError):
    code = 400

    def __init__(self, sentence: str) -> None:
        super().__init__("ResourceInUse", sentence)


class ServiceAlreadyExists(JsonRESTError):
    code = 400

    def __init__(self) -> None:
        super().__init__("ServiceAlreadyExists", "A service with this name already exists.")


def install() -> None:
    Backend.register_instance = _register_once  # type: ignore[method-assign]
    Backend.deregister_instance = _deregister_counted  # type: ignore[method-assign]
    Backend.update_instance_custom_health_status = _set_counted  # type: ignore[method-assign]
    Backend.discover_instances_revision = _revision_of  # type: ignore[method-assign]
    Backend.delete_service = _delete_empty_service  # type: ignore[method-assign]
    Backend.delete_namespace = _delete_empty_namespace  # type: ignore[method-assign]
    Backend.create_service = _create_one_service  # type: ignore[method-assign]
    Response.discover_instances = _answer_discover  # type: ignore[method-assign]
    lifecycle.on_task(follow)


def follow(event: str, task: Task) -> None:
    """Instances of a task come when it runs, are HEALTHY when it is, and go when it stops."""
    backend = servicediscovery_backends[task.account][task.region]
    for registry in task.registries:
        service = backend.services.get(str(registry["registryArn"]).split("/")[-1])
        if service is None:
            continue
        if event == "running":
            _register_once(backend, service.id, task.id, task.id, _attributes(task, registry))
            _instance(service, task.id).health_status = "UNHEALTHY"
        elif event == "healthy":
            _set_counted(backend, service.id, task.id, "HEALTHY")
        elif any(each.instance_id == task.id for each in service.instances):
            _deregister_counted(backend, service.id, task.id)


def _attributes(task: Task, registry: dict[str, Any]) -> dict[str, str]:
    known = {
        "AWS_INSTANCE_IPV4": task.ip,
        "AWS_INSTANCE_PORT": registry.get("port") or registry.get("containerPort") or task.port,
        "AWS_INIT_HEALTH_STATUS": "UNHEALTHY",
        "AVAILABILITY_ZONE": task.availability_zone,
        "REGION": task.region,
        "ECS_CLUSTER_NAME": task.cluster_name,
        "ECS_SERVICE_NAME": task.service_name,
        "ECS_TASK_DEFINITION_FAMILY": task.definition.family,
        "ECS_TASK_SET_EXTERNAL_ID": task.external_id,
    }
    return {name: str(value) for name, value in known.items() if value}


def _instance(service: Service, instance_id: str) -> ServiceInstance:
    return next(each for each in service.instances if each.instance_id == instance_id)


def _grow(service: Service) -> None:
    counted: Any = service
    counted.revision = revision(service) + 1


def revision(service: Service) -> int:
    """Grows with every change of an instance of the service; 0 before the first."""
    return int(getattr(service, "revision", 0))


def _register_once(
    self: Backend, service_id: str, instance_id: str, creator_request_id: str, attributes: Any
) -> str:
    """A second registration replaces the first, which moto would keep beside it."""
    service = self.get_service(service_id)
    service.instances = [each for each in service.instances if each.instance_id != instance_id]
    _grow(service)
    return _register(self, service_id, instance_id, creator_request_id, attributes)


def _deregister_counted(self: Backend, service_id: str, instance_id: str) -> str:
    operation = _deregister(self, service_id, instance_id)
    _grow(self.get_service(service_id))
    return operation


def _set_counted(self: Backend, service_id: str, instance_id: str, status: str) -> None:
    _set_health(self, service_id, instance_id, status)
    _grow(self.get_service(service_id))


def _find(self: Backend, namespace_name: str, service_name: str) -> Service:
    self.discover_instances(namespace_name, service_name)  # raises what is not found
    namespaces = {each.id for each in self.list_namespaces() if each.name == namespace_name}
    return next(
        each
        for each in self.services.values()
        if each.name == service_name and each.namespace_id in namespaces
    )


def _revision_of(self: Backend, namespace_name: str, service_name: str) -> int:
    return revision(_find(self, namespace_name, service_name))


def _answer_discover(self: Response) -> str:
    asked = json.loads(self.body)
    namespace, name = asked["NamespaceName"], asked["ServiceName"]
    backend = self.servicediscovery_backend
    found, _ = backend.discover_instances(
        namespace, name, asked.get("QueryParameters"), asked.get("OptionalParameters"),
        asked.get("HealthStatus") or "HEALTHY_OR_ELSE_ALL",
    )  # fmt: skip
    instances = [
        {
            "InstanceId": each.instance_id,
            "NamespaceName": namespace,
            "ServiceName": name,
            "Attributes": each.attributes,
            "HealthStatus": each.health_status,
        }
        for each in found[: asked.get("MaxResults") or MOST_INSTANCES]
    ]
    return json.dumps(
        {"Instances": instances, "InstancesRevision": _revision_of(backend, namespace, name)}
    )


def _create_one_service(self: Backend, name: str, namespace_id: str, *args: Any, **kw: Any) -> Any:
    self.get_namespace(namespace_id)
    for each in self.services.values():
        if (each.name, each.namespace_id) == (name, namespace_id):
            raise ServiceAlreadyExists
    return _create_service(self, name, namespace_id, *args, **kw)


def _delete_empty_service(self: Backend, service_id: str) -> None:
    if self.get_service(service_id).instances:
        raise InUse("The service contains registered instances; delete the instances first.")
    _delete_service(self, service_id)


def _delete_empty_namespace(self: Backend, namespace_id: str) -> str:
    if any(each.namespace_id == namespace_id for each in self.services.values()):
        raise InUse("The namespace contains services; delete the services first.")
    return _delete_namespace(self, namespace_id)
