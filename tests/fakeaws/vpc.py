"""A network that refuses to go while something is in it, as EC2 does and moto does not.

``install()`` is called by the server before it starts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.ec2.exceptions import DependencyViolationError
from moto.ec2.models import EC2Backend
from moto.ecs.models import ecs_backends

_ORIGINALS: dict[str, Callable[..., Any]] = {}


def _tasks_in(backend: EC2Backend, subnet_id: str) -> bool:
    clusters = ecs_backends[backend.account_id][backend.region_name].tasks.values()
    return any(
        getattr(task, "subnet", None) == subnet_id and task.last_status != "STOPPED"
        for tasks in clusters
        for task in tasks.values()
    )


def _delete_subnet(self: EC2Backend, subnet_id: str) -> Any:
    interfaces = any(eni.subnet.id == subnet_id for eni in self.enis.values())
    if interfaces or _tasks_in(self, subnet_id):
        raise DependencyViolationError(
            f"The subnet '{subnet_id}' has dependencies and cannot be deleted."
        )
    return _ORIGINALS["delete_subnet"](self, subnet_id)


def _named_by_another(backend: EC2Backend, group_id: str) -> bool:
    """Whether a rule of another security group refers to this one."""
    return any(
        (rule.source_group or {}).get("GroupId") == group_id
        for groups in backend.groups.values()
        for group in groups.values()
        if group.id != group_id
        for rule in (*group.ingress_rules, *group.egress_rules)
    )


def _delete_security_group(
    self: EC2Backend, name: str | None = None, group_id: str | None = None
) -> Any:
    worn = any(group.id == group_id for eni in self.enis.values() for group in eni.group_set)
    if group_id and (worn or _named_by_another(self, group_id)):
        raise DependencyViolationError(f"resource {group_id} has a dependent object")
    return _ORIGINALS["delete_security_group"](self, name, group_id)


def _delete_nat_gateway(self: EC2Backend, nat_gateway_id: str) -> Any:
    gateway = _ORIGINALS["delete_nat_gateway"](self, nat_gateway_id)
    self.enis.pop(gateway._eni.id, None)
    return gateway


def _terminate_instances(self: EC2Backend, instance_ids: list[str]) -> Any:
    """Interfaces made with an instance go with it, which is AWS's default and not moto's."""
    ended = _ORIGINALS["terminate_instances"](self, instance_ids)
    for instance, _state in ended:
        for interface in instance.nics.values():
            self.enis.pop(interface.id, None)
    return ended


def _delete_vpc(self: EC2Backend, vpc_id: str) -> Any:
    attached = vpc_id in [getattr(one.vpc, "id", "") for one in self.internet_gateways.values()]
    groups = [group for group in self.groups.get(vpc_id, {}).values() if group.name != "default"]
    if attached or groups:
        raise DependencyViolationError(
            f"The vpc '{vpc_id}' has dependencies and cannot be deleted."
        )
    return _ORIGINALS["delete_vpc"](self, vpc_id)


_BACKEND: dict[str, Callable[..., Any]] = {
    "delete_subnet": _delete_subnet,
    "delete_security_group": _delete_security_group,
    "delete_nat_gateway": _delete_nat_gateway,
    "delete_vpc": _delete_vpc,
    "terminate_instances": _terminate_instances,
}


def install() -> None:
    """Wrap moto's deletions. Harmless when repeated."""
    if _ORIGINALS:
        return
    for name, method in _BACKEND.items():
        _ORIGINALS[name] = getattr(EC2Backend, name)
        setattr(EC2Backend, name, method)
