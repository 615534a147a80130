"""Where a service is on ECS, and what is there: outputs of the stacks, the service, its task sets.

Read by every other part of the platform ``ecs``. Writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rollouts import aws
from rollouts.aws import Account
from rollouts.errors import PlatformRefused
from rollouts.models import Service, Stack

OF_INFRA = ("Cluster", "Namespace", "PrivateSubnets", "LogGroup")  # the rest is of the stack app


@dataclass(frozen=True)
class Place:
    """Where a service is: an account, and what the stacks of its mesh say of it.

    ``prefix`` is how outputs of this service begin: EchoServer for echo_server.echo.local.
    """

    account: Account
    mesh: str
    service: Service
    prefix: str
    outputs: Mapping[str, str]

    def output(self, key: str) -> str:
        """An output of the mesh's stacks. Raises PlatformRefused while there is none."""
        if self.outputs.get(key):
            return self.outputs[key]
        stack = "infra" if key in OF_INFRA else "app"
        if Stack.objects.filter(mesh__slug=self.mesh, name=stack).exclude(outputs={}).exists():
            raise PlatformRefused(
                f"The stack {stack} of {self.mesh} has no output {key}: it is not made for a "
                f"service named {self.service.name}."
            )
        raise PlatformRefused(
            f"No stack of {self.mesh} has the output {key}: create the stack {stack} first."
        )

    def own(self, name: str) -> str:
        """An output about this service: ``Service`` is EchoServerService."""
        return self.output(self.prefix + name)

    @property
    def cluster(self) -> str:
        return self.output("Cluster")

    @property
    def name(self) -> str:
        """The service's name in ECS."""
        return self.own("Service")

    @property
    def made(self) -> bool:
        """Do the stacks say that there is an ECS service?"""
        return bool(self.outputs.get("Cluster") and self.outputs.get(self.prefix + "Service"))

    def target(self, pk: int) -> str:
        """``Version.target``, the task set's external id."""
        return f"{self.service.slug}--{pk}"

    def version_of(self, external_id: str) -> int | None:
        """The version whose task set has this external id; None when it is not meshui's."""
        found = re.fullmatch(rf"{re.escape(self.service.slug)}--([0-9]+)", external_id)
        return int(found[1]) if found else None

    def call(self, operation: str, /, **arguments: Any) -> dict[str, Any]:
        """One call of ECS. Raises AwsError."""
        return aws.call(self.account, "ecs", operation, **arguments)

    def on_service(self, operation: str, /, **arguments: Any) -> dict[str, Any]:
        """One call of ECS about this service. Raises AwsError."""
        return self.call(operation, cluster=self.cluster, service=self.name, **arguments)


def place_of(service: Service) -> Place:
    """Raises InvalidInput when the mesh names no region."""
    mesh = service.mesh
    account = aws.account_of(mesh.settings)
    return Place(account, mesh.slug, service, service.output_prefix, mesh.outputs())


@dataclass(frozen=True)
class TaskSet:
    """A task set of meshui's. ``percent`` of the service's desired count; ``desired`` tasks."""

    id: str
    version: int
    status: str  # PRIMARY, ACTIVE, DRAINING
    percent: float
    desired: int
    running: int
    pending: int
    steady: bool
    created: datetime

    def __repr__(self) -> str:
        """As it is in a log line."""
        return f"{self.id} of version {self.version}"

    @property
    def alive(self) -> bool:
        return self.status != "DRAINING"

    @property
    def at_rest(self) -> bool:
        """It has the tasks that it should have, and none comes or goes."""
        return self.alive and self.steady and not self.pending and self.running == self.desired


@dataclass(frozen=True)
class Found:
    """The service as ECS has it. ``events``: newest first, at most 100."""

    desired: int
    sets: Sequence[TaskSet]
    events: Sequence[Mapping[str, Any]]

    @property
    def alive(self) -> list[TaskSet]:
        return [each for each in self.sets if each.alive]


def look(place: Place) -> Found | None:
    """One call: the service with its task sets; None when there is no such service any more."""
    answer = place.call("describe_services", cluster=place.cluster, services=[place.name])
    for service in answer["services"]:
        if service["status"] == "ACTIVE":
            return Found(service["desiredCount"], _sets(place, service), service.get("events", []))
    return None


def gone(place: Place) -> PlatformRefused:
    """What to raise when the service is not there and something is wanted of it."""
    return PlatformRefused(
        f"The ECS service {place.name} of the cluster {place.cluster} is gone, changed outside "
        "meshui?"
    )


def _sets(place: Place, service: Mapping[str, Any]) -> list[TaskSet]:
    found = []
    for raw in service.get("taskSets", []):
        version = place.version_of(raw.get("externalId") or "")
        if version is not None:
            found.append(_set(raw, version))
    return found


def _set(raw: Mapping[str, Any], version: int) -> TaskSet:
    return TaskSet(
        id=raw["id"],
        version=version,
        status=raw["status"],
        percent=float(raw.get("scale", {}).get("value", 0.0)),
        desired=raw.get("computedDesiredCount", 0),
        running=raw.get("runningCount", 0),
        pending=raw.get("pendingCount", 0),
        steady=raw.get("stabilityStatus") == "STEADY_STATE",
        created=raw["createdAt"],
    )
