"""Task sets: makes ECS what the rows want, one write at a time, each only if it is needed.

``ecs`` calls this. Everything is read first and inside the service's lock, so that a write whose
answer was lost is seen to have happened, and a worker that comes late finds nothing to do.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rollouts import aws, locks
from rollouts.errors import AwsGone, PlatformStale, PlatformUnreachable
from rollouts.models import Rollout, Service, Version
from rollouts.platforms import ecs_definitions as definitions
from rollouts.platforms.base import Joins
from rollouts.platforms.ecs_place import Found, Place, gone, look
from rollouts.platforms.ecs_plan import Create, Delete, Desire, Promote, Scale, Write, plan

log = logging.getLogger(__name__)

# Longer than the writes of one tick take; so long does a killed worker keep others from writing.
LEASE_S = 30.0
LOCK_WAIT_S = 1.0

# Of each service: for which wishes this process has found no unused task definition. Without this
# every tick would have to look for what a killed worker may have left.
_tidy: dict[int, tuple[Any, ...]] = {}


@dataclass(frozen=True)
class Wanted:
    """How many tasks each version should have. ``rollout`` is the service's newest."""

    counts: Mapping[Version, int]
    stable: int | None
    rollout: int | None
    generation: int
    joins: Joins

    @property
    def by_pk(self) -> dict[int, int]:
        return {version.pk: count for version, count in self.counts.items()}

    def version(self, pk: int) -> Version:
        return next(version for version in self.counts if version.pk == pk)

    @property
    def key(self) -> tuple[Any, ...]:
        return (self.rollout, self.generation, *sorted(self.by_pk))


def wanted_of(service: Service, counts: Mapping[Version, int], joins: Joins) -> Wanted:
    newest = Rollout.objects.filter(service=service).values_list("pk", flat=True).first()
    return Wanted(counts, service.stable_id, newest, service.generation, joins)


def settle(place: Place, wanted: Wanted, revision: int) -> None:
    """Make it so. Raises AwsError, LockBusy, PlatformStale, PlatformRefused."""
    if not _todo(place, wanted):
        return
    name = f"service-{place.service.pk}-tasks"
    with locks.hold(name, seconds=LEASE_S, wait_s=LOCK_WAIT_S) as held, aws.once():
        _check_revision(place.service.pk, revision)
        found = _look(place, wanted)
        work = Work(place, wanted, held)
        for write in _plan(found, wanted):
            work.do(write)
        if _tidy.get(place.service.pk) != (place.mesh, *wanted.key):
            definitions.remove_unused(place, wanted.by_pk, work.check)
            _tidy[place.service.pk] = (place.mesh, *wanted.key)


def _todo(place: Place, wanted: Wanted) -> bool:
    """Is there anything to do? At rest this is the one call, and no lock is needed."""
    if _tidy.get(place.service.pk) != (place.mesh, *wanted.key):
        return True
    return bool(_plan(_look(place, wanted), wanted))


def _look(place: Place, wanted: Wanted) -> Found | None:
    """Raises PlatformRefused when the service is gone although something is wanted of it."""
    try:
        found = look(place)
    except AwsGone:
        if wanted.counts:
            raise
        return None
    if found is None and wanted.counts:
        raise gone(place)
    return found


def _plan(found: Found | None, wanted: Wanted) -> list[Write]:
    return plan(found, wanted.by_pk, wanted.stable) if found else []


def _check_revision(pk: int, revision: int) -> None:
    ticks = Service.objects.values_list("ticks", flat=True).get(pk=pk)
    if ticks > revision:
        raise PlatformStale(f"Tick {revision} of the service came after tick {ticks}.")


@dataclass(frozen=True)
class Work:
    """The writes, each only while the lock is held for longer than a call can take."""

    place: Place
    wanted: Wanted
    held: locks.Held

    def check(self) -> None:
        """Right before a write. Raises LockBusy when the lease may end during the write."""
        self.held.check(aws.longest_s())

    def do(self, write: Write) -> None:
        log.info("%s: %s", self.place.service.slug, write)
        if isinstance(write, Create):
            self._create(write)
            return
        self.check()
        match write:
            case Promote(set=chosen):
                self._on_set("update_service_primary_task_set", primaryTaskSet=chosen.id)
            case Delete(set=chosen):
                self._delete(chosen.id)
            case Scale(set=chosen, percent=value):
                self._on_set("update_task_set", taskSet=chosen.id, scale=_scale(value))
            case Desire(count=count):
                self.place.on_service("update_service", desiredCount=count)

    def _on_set(self, operation: str, **arguments: Any) -> None:
        try:
            self.place.on_service(operation, **arguments)
        except AwsGone as error:
            if "TaskSet" not in error.code:
                raise
            raise PlatformUnreachable(
                f"A task set went meanwhile; looking again. {error}"
            ) from error

    def _delete(self, name: str) -> None:
        try:
            # Its requests have gone elsewhere long ago: it need not be scaled to 0 first.
            self.place.on_service("delete_task_set", taskSet=name, force=True)
        except AwsGone as error:
            if "TaskSet" not in error.code:
                raise
            log.info("%s: the task set %s is gone already", self.place.service.slug, name)

    def _create(self, write: Create) -> None:
        version = self.wanted.version(write.version)
        definition = definitions.definition_for(self.place, version, self.check)
        asked = self._asked(version, definition, write.percent)
        self.check()
        made = self.place.on_service(
            "create_task_set", **asked, clientToken=token(self.wanted.rollout, asked)
        )["taskSet"]
        if made["status"] == "DRAINING":
            # ECS repeats its answer to a request that it knows, also when somebody has deleted the
            # set since. With another revision of the definition the request is another one.
            self.check()
            self.place.call("deregister_task_definition", taskDefinition=definition)
            raise PlatformUnreachable(
                f"The task set of {version.label} was deleted outside meshui; making another."
            )

    def _asked(self, version: Version, definition: str, percent: float) -> dict[str, Any]:
        place, join = self.place, self.wanted.joins.get(version.pk, {})
        asked: dict[str, Any] = {
            "externalId": version.target,
            "taskDefinition": definition,
            "launchType": "FARGATE",
            "networkConfiguration": {"awsvpcConfiguration": {
                "subnets": place.output("PrivateSubnets").split(","),
                "securityGroups": [place.own("SecurityGroup")],
                "assignPublicIp": "DISABLED",
            }},
            "serviceRegistries": [{"registryArn": place.own("Registry")}],
            "scale": _scale(percent),
            "tags": definitions.tags_of({
                definitions.TAG_MESH: place.mesh, definitions.TAG_TARGET: version.target,
            }),
        }  # fmt: skip
        if group := join.get("target_group"):
            asked["loadBalancers"] = [{
                "targetGroupArn": group,
                "containerName": join.get("container", definitions.CONTAINER),
                "containerPort": int(join.get("port") or place.own("Port")),
            }]  # fmt: skip
        return asked


def _scale(percent: float) -> dict[str, Any]:
    return {"unit": "PERCENT", "value": percent}


def token(rollout: int | None, asked: Mapping[str, Any]) -> str:
    """The same for the same request within one rollout: ECS then makes one set of two requests."""
    text = json.dumps([rollout, asked], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
