"""One ECS task from PROVISIONING to STOPPED, moved by time and by its processes, if it has any.

``scheduler`` and ``ecs`` make tasks and stop them; ``advance`` is called on every tick. Others
learn of a task by ``on_task``. It doesn't decide how many tasks there are.
"""

from __future__ import annotations

import itertools
import os
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from moto.core.utils import utcnow

from tests.fakeaws import inject, tasklogs, world
from tests.fakeaws.ecr import pull_failure
from tests.fakeaws.secrets import SecretUnavailable, with_secrets

GRACE_S = 30.0
UNHEALTHY_REASON = "Task failed container health checks"
KEPT_S = 3600.0  # how long a STOPPED task can be described

NEXT = {
    "PROVISIONING": "PENDING",
    "PENDING": "ACTIVATING",
    "ACTIVATING": "RUNNING",
    "DEACTIVATING": "STOPPING",
    "STOPPING": "DEPROVISIONING",
    "DEPROVISIONING": "STOPPED",
}
DOWN = ("DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED")


class Look(Protocol):
    """What an engine sees of one task. ``state``: starting, running, healthy or exited."""

    state: str
    container: str | None
    exit_code: int | None
    log_tail: str


class Runs(Protocol):
    """The engine's port: containers of a task as real processes."""

    def start(self, task_id: str, ip: str, task_definition: dict[str, Any]) -> None: ...
    def look(self, task_id: str) -> Any: ...
    def stop(self, task_id: str, grace_s: float) -> None: ...
    def close(self) -> None: ...


engine: Runs | None = None
"""Without one, tasks become RUNNING and HEALTHY by time alone."""

TaskEvent = Callable[[str, "Task"], None]
_watchers: list[TaskEvent] = []

# Two fakes on one machine should not listen on the same addresses.
_addresses = itertools.count(os.getpid() * 977)


def on_task(call: TaskEvent) -> None:
    """Have ``call(event, task)`` called for "running", "healthy" (once each) and "stopping"."""
    if call not in _watchers:
        _watchers.append(call)


def use_engine(chosen: Runs | None) -> None:
    """Run the containers of tasks from now on with ``chosen``."""
    global engine
    engine = chosen


def next_address() -> str:
    """An address of 127.77.0.0/16 that no other task of this process has."""
    number = next(_addresses) % (256 * 254)
    return f"127.77.{number // 254}.{number % 254 + 1}"


@dataclass(eq=False)
class Task:
    """One task; public attributes are those of the API. ``owner`` is a task set or a deployment."""

    arn: str
    cluster_name: str
    cluster_arn: str
    region: str
    account: str
    definition: Any
    group: str
    started_by: str = ""
    owner: Any = None
    service_name: str = ""
    external_id: str = ""
    launch_type: str = "FARGATE"
    platform_version: str = "1.4.0"
    subnet: str = ""
    registries: list[dict[str, Any]] = field(default_factory=list)
    load_balancers: list[dict[str, Any]] = field(default_factory=list)
    overrides: dict[str, Any] = field(default_factory=dict)
    tags: list[dict[str, str]] = field(default_factory=list)
    since: float = 0.0
    ip: str = field(default_factory=next_address)
    last_status: str = "PROVISIONING"
    desired_status: str = "RUNNING"
    health_status: str = "UNKNOWN"
    connectivity: str = "CONNECTED"
    version: int = 1
    settled: bool = False
    stop_code: str | None = None
    stopped_reason: str | None = None
    created_at: datetime = field(default_factory=utcnow)
    started_at: datetime | None = None
    pull_started_at: datetime | None = None
    pull_stopped_at: datetime | None = None
    stopping_at: datetime | None = None
    execution_stopped_at: datetime | None = None
    stopped_at: datetime | None = None
    ended: float | None = None
    stopper: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.id = self.arn.split("/")[-1]
        self.task_arn = self.arn
        self.task_definition_arn = self.definition.arn
        self.cpu = self.definition.cpu
        self.memory = self.definition.memory
        self.availability_zone = f"{self.region}a"
        self.attachments = [self._attachment()]
        self.containers = [self._container(each) for each in self.definition.container_definitions]

    def _attachment(self) -> dict[str, Any]:
        details = {
            "subnetId": self.subnet,
            "networkInterfaceId": f"eni-{self.id[:17]}",
            "macAddress": "0e:" + ":".join(self.id[at : at + 2] for at in range(0, 10, 2)),
            "privateDnsName": f"ip-{self.ip.replace('.', '-')}.{self.region}.compute.internal",
            "privateIPv4Address": self.ip,
        }
        return {
            "id": str(uuid.uuid4()),
            "type": "ElasticNetworkInterface",
            "status": "PRECREATED",
            "details": [{"name": name, "value": value} for name, value in details.items()],
        }

    def _container(self, definition: Mapping[str, Any]) -> dict[str, Any]:
        image = str(definition["image"])
        return {
            "containerArn": f"{self.arn.replace(':task/', ':container/')}/{uuid.uuid4()}",
            "taskArn": self.arn,
            "name": definition["name"],
            "image": image,
            "imageDigest": image.partition("@")[2] or None,
            "runtimeId": f"{self.id}-{uuid.uuid4().int % 10**10:010}",
            "lastStatus": "PENDING",
            "healthStatus": "UNKNOWN",
            "cpu": str(definition.get("cpu") or 0),
            "networkInterfaces": [
                {"attachmentId": self.attachments[0]["id"], "privateIpv4Address": self.ip}
            ],
        }

    @property
    def probed(self) -> bool:
        """True when a container has a health check."""
        return any(each.get("healthCheck") for each in self.definition.container_definitions)

    @property
    def port(self) -> int | None:
        """The first port that a container declares."""
        for each in self.definition.container_definitions:
            for mapping in each.get("portMappings") or ():
                return int(mapping["containerPort"])
        return None


def advance(task: Task, now: float) -> None:
    """Move a task through every stage whose time has come by ``now``."""
    while task.last_status != "STOPPED":
        if task.last_status == "RUNNING":
            _watch(task, now)
            if task.last_status == "RUNNING":
                return
        if now - task.since < world.speeds.task or not _may_leave(task):
            return
        _enter(task, NEXT[task.last_status], task.since + world.speeds.task)


def _may_leave(task: Task) -> bool:
    """False while a process of the task holds it in its stage."""
    if task.last_status == "PENDING":
        return True
    if task.last_status == "ACTIVATING" and engine:
        seen = engine.look(task.id)
        if seen.state == "exited":
            _exited(task, seen.container, seen.exit_code, seen.log_tail)
            return False
        return bool(seen.state != "starting")
    return not (task.stopper and task.stopper.is_alive())


def _enter(task: Task, stage: str, at: float) -> None:
    if stage == "ACTIVATING" and (why := _cannot_start(task)):
        stop(task, "TaskFailedToStart", why, at=at)
        return
    task.last_status, task.since = stage, at
    task.version += 1
    if stage == "PENDING":
        task.pull_started_at = utcnow()
        task.attachments[0]["status"] = "ATTACHED"
    elif stage == "RUNNING":
        _run(task)
    elif stage == "STOPPING":
        _end_processes(task)
    elif stage == "STOPPED":
        _ended(task, at)


def _cannot_start(task: Task) -> str:
    """Why the task cannot go on after PENDING; pulls images and starts processes. Empty: it can."""
    definitions = task.definition.container_definitions
    if why := inject.FAIL_FAMILIES.get(task.definition.family):
        return why
    for container in definitions:
        if why := pull_failure(str(container["image"]), task.account):
            return why
    task.pull_stopped_at = utcnow()
    if why := tasklogs.missing_group(definitions, task.account):
        return why
    try:
        resolved = with_secrets(definitions, task.account)
    except SecretUnavailable as error:
        return str(error)
    return _start_processes(task, resolved) if engine else ""


def _start_processes(task: Task, containers: list[dict[str, Any]]) -> str:
    assert engine is not None
    definition = {
        "family": task.definition.family,
        "revision": task.definition.revision,
        "taskDefinitionArn": task.definition.arn,
        "cpu": task.cpu,
        "memory": task.memory,
        "containerDefinitions": containers,
    }
    try:
        engine.start(task.id, task.ip, definition)
    except (OSError, ValueError, KeyError) as error:
        return f"CannotStartContainerError: {error}"
    return ""


def _run(task: Task) -> None:
    task.started_at = utcnow()
    for container in task.containers:
        container["lastStatus"] = "RUNNING"
    for definition in task.definition.container_definitions:
        lines = [f"{definition['name']} of {task.definition.family} is listening"]
        tasklogs.write(definition, task.id, task.account, lines)
    _tell("running", task)


def _watch(task: Task, now: float) -> None:
    """A RUNNING task becomes healthy one stage later, or when its processes are; or it has died."""
    family, due = task.definition.family, now - task.since >= world.speeds.task
    state = "healthy" if due and family not in inject.UNHEALTHY else "running"
    if family in inject.CRASHES:
        _exited(task, task.containers[0]["name"], inject.CRASHES[family], "It crashed on purpose.")
        return
    if due and family in inject.UNHEALTHY:
        task.health_status = "UNHEALTHY"
        stop(task, "ServiceSchedulerInitiated", UNHEALTHY_REASON)
        return
    if engine:
        seen = engine.look(task.id)
        if seen.state == "exited":
            _exited(task, seen.container, seen.exit_code, seen.log_tail)
            return
        if task.probed or seen.state == "healthy":
            state = seen.state
    if state == "healthy" and not task.settled:
        task.settled = True
        if task.probed:
            task.health_status = "HEALTHY"
            for container, definition in zip(
                task.containers, task.definition.container_definitions, strict=True
            ):
                if definition.get("healthCheck"):
                    container["healthStatus"] = "HEALTHY"
        _tell("healthy", task)


def _exited(task: Task, name: str, exit_code: int | None, log_tail: str) -> None:
    definitions = task.definition.container_definitions
    for container, definition in zip(task.containers, definitions, strict=True):
        if container["name"] != name:
            continue
        container["exitCode"] = exit_code
        if exit_code == 137:
            container["reason"] = "OutOfMemoryError: Container killed due to memory usage"
        tasklogs.write(definition, task.id, task.account, log_tail.splitlines())
    stop(task, "EssentialContainerExited", "Essential container in task exited")


def stop(task: Task, code: str, reason: str, *, at: float | None = None) -> None:
    """Begin to stop a task. A second call changes nothing."""
    if task.desired_status == "STOPPED":
        return
    started = task.last_status in ("ACTIVATING", "RUNNING")
    task.desired_status = "STOPPED"
    task.stop_code, task.stopped_reason = code, reason
    task.stopping_at = utcnow()
    task.since = world.now() if at is None else at
    task.last_status = "DEACTIVATING" if started else "DEPROVISIONING"
    if code == "TaskFailedToStart" and task.containers:
        task.containers[0]["reason"] = reason
    _tell("stopping", task)


def _end_processes(task: Task) -> None:
    task.execution_stopped_at = utcnow()
    if engine:
        chosen = engine
        task.stopper = threading.Thread(
            target=lambda: chosen.stop(task.id, GRACE_S), name=f"stop-{task.id}", daemon=True
        )
        task.stopper.start()


def _ended(task: Task, at: float) -> None:
    task.stopped_at, task.ended = utcnow(), at
    task.connectivity = "DISCONNECTED"
    task.attachments[0]["status"] = "DELETED"
    if task.started_at:
        for container in task.containers:
            container.setdefault("exitCode", 0)
    for container in task.containers:
        container["lastStatus"] = "STOPPED"


def failed(task: Task) -> bool:
    """True when the task ended by itself, not because somebody wanted fewer."""
    by_itself = task.stop_code in ("TaskFailedToStart", "EssentialContainerExited")
    return by_itself or task.stopped_reason == UNHEALTHY_REASON


def _tell(event: str, task: Task) -> None:
    for call in _watchers:
        call(event, task)
