"""Keeps as many tasks as task sets and deployments want, and counts them. Called on every tick.

``ecs`` changes what is wanted. Failed tasks are replaced for ever, ever more slowly, as ECS does.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from moto.core.utils import utcnow
from moto.ecs.models import EC2ContainerServiceBackend, Service, TaskSet, ecs_backends
from moto.elbv2.models import elbv2_backends

from tests.fakeaws import lifecycle, world
from tests.fakeaws.lifecycle import Task

EVENTS_KEPT = 100
BREAKER_FAILS = 3  # ECS's smallest threshold
SLOWEST = 32  # times as long between two replacements as at first


@dataclass(eq=False)
class Deployment:
    """A deployment of a service that ECS rolls by itself; attributes are those of the API."""

    task_definition: str
    desired_count: int
    network_configuration: dict[str, Any]
    launch_type: str = "FARGATE"
    platform_version: str = "1.4.0"
    id: str = field(default_factory=lambda: new_id())
    status: str = "PRIMARY"
    running_count: int = 0
    pending_count: int = 0
    failed_tasks: int = 0
    rollout_state: str = "IN_PROGRESS"
    rollout_state_reason: str = ""
    created_at: datetime = field(default_factory=utcnow)
    updated_at: datetime = field(default_factory=utcnow)
    fails: int = 0
    retry_at: float = 0.0


class FakeTaskSet(TaskSet):
    """moto's, with counts that are counted."""

    fails = 0
    retry_at = 0.0
    computed_desired_count = 0
    running_count = 0
    pending_count = 0
    failed_tasks = 0


Owner = Deployment | FakeTaskSet


def new_id() -> str:
    """As ECS names task sets and deployments."""
    return f"ecs-svc/{uuid.uuid4().int % 10**19:019}"


def run(now: float) -> None:
    """One look at every service of every account and region."""
    for _account, _region, backend in ecs_backends.iter_backends():
        assert isinstance(backend, EC2ContainerServiceBackend)
        for task in all_tasks(backend):
            lifecycle.advance(task, now)
        for service in list(backend.services.values()):
            _serve(backend, service, now)
        _forget(backend, now)


def all_tasks(backend: EC2ContainerServiceBackend) -> Iterator[Task]:
    """Every task that can still be described."""
    for of_cluster in backend.tasks.values():
        yield from list(of_cluster.values())  # type: ignore[misc]


def tasks_of(backend: EC2ContainerServiceBackend, owner: Owner) -> list[Task]:
    return [task for task in all_tasks(backend) if task.owner is owner]


def owners(service: Service) -> list[Any]:
    """Task sets of an EXTERNAL service, deployments of another."""
    return [*service.task_sets, *service.deployments]


def wanted(service: Service, owner: Owner) -> int:
    """Tasks that this owner should have now."""
    if service.status != "ACTIVE" or owner.status in ("DRAINING", "INACTIVE"):
        return 0
    if isinstance(owner, Deployment):
        return owner.desired_count
    return math.ceil(service.desired_count * float(owner.scale["value"]) / 100)


def _serve(backend: EC2ContainerServiceBackend, service: Service, now: float) -> None:
    for owner in owners(service):
        tasks = tasks_of(backend, owner)
        _note_failures(service, owner, tasks, now)
        _meet(backend, service, owner, tasks, now)
        _count(service, owner, tasks_of(backend, owner))
    _roll(service)
    _drop_drained(backend, service)
    service.running_count = sum(owner.running_count for owner in owners(service))
    service.pending_count = sum(owner.pending_count for owner in owners(service))


def _note_failures(service: Service, owner: Owner, tasks: list[Task], now: float) -> None:
    failed = sum(lifecycle.failed(task) for task in tasks)
    if failed > owner.failed_tasks:
        owner.fails += 1
        owner.retry_at = now + world.speeds.task * min(2 ** (owner.fails - 1), SLOWEST)
        if owner.fails == BREAKER_FAILS:
            say(service, "is unable to consistently start tasks successfully. For more"
                " information, see the Troubleshooting section of the Amazon ECS Developer"
                " Guide.")  # fmt: skip
    elif any(task.settled and task.desired_status == "RUNNING" for task in tasks):
        owner.fails = 0
    owner.failed_tasks = max(failed, owner.failed_tasks)


def _meet(
    backend: EC2ContainerServiceBackend,
    service: Service,
    owner: Owner,
    tasks: Iterable[Task],
    now: float,
) -> None:
    """Start what is missing, stop what is too much: first those that don't run, then the newest."""
    alive = [task for task in tasks if task.desired_status == "RUNNING"]
    want = wanted(service, owner)
    if len(alive) < want and now >= owner.retry_at:
        started = [_start(backend, service, owner, now) for _ in range(want - len(alive))]
        named = " ".join(f"(task {task.id})" for task in started)
        say(service, f"has started {len(started)} tasks: {named}.", owner)
    surplus = sorted(alive, key=lambda task: (task.last_status == "RUNNING", -task.version))
    for task in surplus[: max(0, len(alive) - want)]:
        kind = "task-set" if isinstance(owner, FakeTaskSet) else "deployment"
        reason = f"Scaling activity initiated by ({kind} {owner.id})"
        lifecycle.stop(task, "ServiceSchedulerInitiated", reason)
        say(service, f"has stopped 1 running tasks: (task {task.id}).", owner)


def _start(backend: EC2ContainerServiceBackend, service: Service, owner: Owner, now: float) -> Task:
    own_set = isinstance(owner, FakeTaskSet)
    source: Any = owner if own_set else service
    network = owner.network_configuration or service.network_configuration or {}
    return launch(
        backend,
        cluster=service.cluster_name,
        definition=backend.describe_task_definition(owner.task_definition),
        now=now,
        group=f"service:{service.name}",
        started_by=owner.id,
        owner=owner,
        service_name=service.name,
        external_id=owner.external_id if isinstance(owner, FakeTaskSet) else "",
        launch_type=owner.launch_type or "FARGATE",
        subnet=_subnet(network),
        registries=list(source.service_registries),
        load_balancers=list(source.load_balancers),
    )


def _subnet(network: dict[str, Any]) -> str:
    subnets = (network.get("awsvpcConfiguration") or {}).get("subnets") or [""]
    return str(subnets[0])


def launch(
    backend: EC2ContainerServiceBackend, *, cluster: str, definition: Any, now: float, **how: Any
) -> Task:
    """Make a task, PROVISIONING since ``now``."""
    region, account = backend.region_name, backend.account_id
    task = Task(
        arn=f"arn:aws:ecs:{region}:{account}:task/{cluster}/{uuid.uuid4().hex}",
        cluster_name=cluster,
        cluster_arn=backend.clusters[cluster].arn,
        region=region,
        account=account,
        definition=definition,
        since=now,
        **how,
    )
    backend.tasks.setdefault(cluster, {})[task.arn] = task  # type: ignore[assignment]
    return task


def _count(service: Service, owner: Owner, tasks: list[Task]) -> None:
    alive = [task for task in tasks if task.desired_status == "RUNNING"]
    running = [task for task in tasks if task.last_status == "RUNNING"]
    owner.running_count = len(running)
    owner.pending_count = len(alive) - len(running)
    want = wanted(service, owner)
    stopping = any(task.last_status in ("DEACTIVATING", "STOPPING") for task in tasks)
    steady = (
        len(running) == want
        and not owner.pending_count
        and not stopping
        and all(task.settled for task in running)
    )
    if isinstance(owner, Deployment):
        _complete(service, owner, steady)
        return
    owner.computed_desired_count = want
    state = "STEADY_STATE" if steady else "STABILIZING"
    if state != owner.stabilityStatus:
        owner.stabilityStatus, owner.stabilityStatusAt = state, utcnow()
        if steady:
            say(service, "has reached a steady state.", owner)


def _complete(service: Service, owner: Deployment, steady: bool) -> None:
    if owner.status != "PRIMARY" or owner.rollout_state == "FAILED":
        return
    state = "COMPLETED" if steady else "IN_PROGRESS"
    if _breaks(service) and owner.fails >= BREAKER_FAILS and not steady:
        state, owner.desired_count = "FAILED", 0
    if state == owner.rollout_state or (owner.rollout_state == "COMPLETED" and state != "FAILED"):
        return
    owner.rollout_state, owner.updated_at = state, utcnow()
    words = {"COMPLETED": "completed", "FAILED": "failed: tasks failed to start"}
    owner.rollout_state_reason = f"ECS deployment {owner.id} {words[state]}."
    if state == "COMPLETED":
        say(service, "has reached a steady state.")


def _breaks(service: Service) -> bool:
    settings = getattr(service, "deployment_configuration", None) or {}
    return bool((settings.get("deploymentCircuitBreaker") or {}).get("enable"))


def _roll(service: Service) -> None:
    """Once the newest deployment is complete, earlier ones have nothing to do."""
    deployments: list[Any] = service.deployments
    if deployments and deployments[0].rollout_state == "COMPLETED":
        for earlier in deployments[1:]:
            earlier.desired_count = 0


def _drop_drained(backend: EC2ContainerServiceBackend, service: Service) -> None:
    def busy(owner: Owner) -> bool:
        return any(task.last_status != "STOPPED" for task in tasks_of(backend, owner))

    service.task_sets = [
        each
        for each in service.task_sets
        if each.status != "DRAINING" or busy(each)  # type: ignore[arg-type]
    ]
    deployments: list[Any] = service.deployments
    service.deployments = [
        each for each in deployments if each.status == "PRIMARY" or each.desired_count or busy(each)
    ]
    if service.status == "DRAINING" and not any(busy(owner) for owner in owners(service)):
        service.status = "INACTIVE"
        service.task_sets, service.deployments = [], []


def _forget(backend: EC2ContainerServiceBackend, now: float) -> None:
    for of_cluster in backend.tasks.values():
        for task in list(of_cluster.values()):
            ended = task.ended  # type: ignore[attr-defined]
            if ended is not None and now - ended > lifecycle.KEPT_S:
                del of_cluster[task.task_arn]


def say(service: Service, what: str, owner: Owner | None = None) -> None:
    """Add a sentence to the service's events, newest first."""
    of_set = f", taskSet {owner.id}" if isinstance(owner, FakeTaskSet) else ""
    event = {
        "id": str(uuid.uuid4()),
        "createdAt": utcnow(),
        "message": f"(service {service.name}{of_set}) {what}",
    }
    service.events = [event, *service.events][:EVENTS_KEPT]


def balance(event: str, task: Task) -> None:
    """Targets of the task's target groups come and go with it."""
    backend = elbv2_backends[task.account][task.region]
    for each in task.load_balancers:
        arn = each.get("targetGroupArn")
        if arn not in backend.target_groups:
            continue
        target = [{"Id": task.ip, "Port": int(each.get("containerPort") or task.port or 80)}]
        if event == "running":
            backend.register_targets(arn, target)
        elif event == "stopping" and task.started_at:
            backend.deregister_targets(arn, target)


def settle() -> None:
    """Let every stage of every task be over now; with an engine, as far as processes allow."""
    for _ in range(12):
        for _account, _region, backend in ecs_backends.iter_backends():
            for task in all_tasks(backend):  # type: ignore[arg-type]
                task.since -= world.speeds.task * 10
            for service in list(backend.services.values()):  # type: ignore[attr-defined]
                for owner in owners(service):
                    owner.retry_at = 0.0
        run(world.now())
