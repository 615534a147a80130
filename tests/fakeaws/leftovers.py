"""Everything that still exists, by kind: what must be empty after a mesh is destroyed.

The verb ``leftovers``. Reads moto's backends of every account and region; what AWS itself puts into
an account (its default network) is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from moto.codebuild.models import codebuild_backends
from moto.core.base_backend import BackendDict
from moto.ec2.models import ec2_backends
from moto.ecr.models import ecr_backends
from moto.ecs.models import ecs_backends
from moto.elbv2.models import elbv2_backends
from moto.iam.models import iam_backends
from moto.logs.models import logs_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.servicediscovery.models import servicediscovery_backends

from tests.fakeaws import appmesh, cloudformation, control, scheduler

Found = Iterator[tuple[str, str]]


def install() -> None:
    control.VERBS["leftovers"] = lambda asked: leftovers()


def leftovers() -> dict[str, list[str]]:
    """Kind → names. Kinds without any are left out."""
    found: dict[str, list[str]] = {}
    for backends, look in LOOKS:
        for _account, _region, backend in backends.iter_backends():
            for kind, name in look(backend):
                found.setdefault(kind, []).append(name)
    for sort, arns in appmesh.existing().items():
        found[sort.replace("_", "-")] = arns
    found["stack"] = [stack.name for stack in cloudformation.living_stacks()]
    return {kind: sorted(names) for kind, names in sorted(found.items()) if names}


def _ec2(backend: Any) -> Found:
    """Only what is in a VPC that somebody made, and what belongs to none."""
    own = {vpc.id for vpc in backend.vpcs.values() if vpc.is_default not in (True, "true")}
    yield from (("vpc", each) for each in own)
    for by_zone in backend.subnets.values():
        yield from (("subnet", each.id) for each in by_zone.values() if each.vpc_id in own)
    for vpc_id, groups in backend.groups.items():
        if vpc_id in own:
            yield from (("security-group", each.id) for each in groups.values()
                        if each.name != "default")  # fmt: skip
    yield from (
        ("nat-gateway", each.id)
        for each in backend.nat_gateways.values()
        if each.state != "deleted"
    )
    yield from (("address", each.allocation_id) for each in backend.addresses)
    yield from (("internet-gateway", each) for each in backend.internet_gateways)
    yield from (
        ("vpc-endpoint", each.id)
        for each in backend.vpc_end_points.values()
        if each.state != "deleted"
    )
    for instance in backend.all_instances():
        if instance.state != "terminated":
            yield "instance", instance.id


def _ecs(backend: Any) -> Found:
    active = [each for each in backend.clusters.values() if each.status == "ACTIVE"]
    yield from (("cluster", each.name) for each in active)
    for service in backend.services.values():
        if service.status != "INACTIVE":
            yield "service", service.name
        yield from (("task-set", each.external_id or each.id) for each in service.task_sets)
    for task in scheduler.all_tasks(backend):
        if task.last_status != "STOPPED":
            yield "task", task.id
    for revisions in backend.task_definitions.values():
        for each in revisions.values():
            if each.status == "ACTIVE":
                yield "task-definition", f"{each.family}:{each.revision}"


def _cloudmap(backend: Any) -> Found:
    yield from (("namespace", each.name) for each in backend.namespaces.values())
    for service in backend.services.values():
        yield "discovery-service", service.name
        yield from (("discovery-instance", each.instance_id) for each in service.instances)


def _elbv2(backend: Any) -> Found:
    for balancer in backend.load_balancers.values():
        yield "load-balancer", balancer.name
        for listener in balancer.listeners.values():
            yield "listener", listener.arn
            yield from (
                ("rule", each.arn) for each in listener.rules.values() if not each.is_default
            )
    yield from (("target-group", each.name) for each in backend.target_groups.values())


def _named(kind: str, attribute: str) -> Callable[[Any], Found]:
    """For backends that keep a dict by name."""

    def look(backend: Any) -> Found:
        yield from ((kind, str(name)) for name in getattr(backend, attribute))

    return look


def _secrets(backend: Any) -> Found:
    for name in backend.secrets:
        if not backend.secrets[name].is_deleted():
            yield "secret", backend.secrets[name].name


def _iam(backend: Any) -> Found:
    """Roles that AWS makes by itself for its services are nobody's leftovers."""
    yield from (("role", each.name) for each in backend.roles.values()
                if not each.path.startswith("/aws-service-role/"))  # fmt: skip
    yield from (("instance-profile", each.name) for each in backend.instance_profiles.values())


LOOKS: tuple[tuple[BackendDict[Any], Callable[[Any], Found]], ...] = (
    (ec2_backends, _ec2),
    (ecs_backends, _ecs),
    (servicediscovery_backends, _cloudmap),
    (elbv2_backends, _elbv2),
    (ecr_backends, _named("repository", "repositories")),
    (logs_backends, _named("log-group", "groups")),
    (codebuild_backends, _named("build-project", "codebuild_projects")),
    (secretsmanager_backends, _secrets),
    (iam_backends, _iam),
)
