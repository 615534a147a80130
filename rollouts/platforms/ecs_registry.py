"""Cloud Map: which addresses of a service it says are healthy. Read by ``ecs_tasks``.

Asks for the revision at every look, one cheap call, and for the instances only when it has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rollouts import aws
from rollouts.platforms.ecs_place import Place

EXTERNAL_ID, ADDRESS = "ECS_TASK_SET_EXTERNAL_ID", "AWS_INSTANCE_IPV4"
MOST = 1000  # Cloud Map's limit of one answer

# (external id of a task set, IPv4 address) → is it healthy?
Health = Mapping[tuple[str, str], bool]


@dataclass(frozen=True)
class _Known:
    revision: int
    health: Health


# Of this process. The registry's id is in the key: a new one counts from 0 again.
_known: dict[tuple[aws.Account, str], _Known] = {}


def health(place: Place) -> Health:
    """Every instance of the service. Raises AwsError."""
    key = (place.account, place.own("RegistryId"))
    where = {"NamespaceName": place.output("Namespace"), "ServiceName": _name(place)}
    told = aws.call(place.account, "servicediscovery", "discover_instances_revision", **where)
    known = _known.get(key)
    if known is None or known.revision != told["InstancesRevision"]:
        known = _known[key] = _fetched(place, where)
    return known.health


def _name(place: Place) -> str:
    """The registry is named by the first label of the service's host name."""
    return place.service.name.partition(".")[0]


def _fetched(place: Place, where: Mapping[str, str]) -> _Known:
    answer = aws.call(
        place.account, "servicediscovery", "discover_instances",
        **where, HealthStatus="ALL", MaxResults=MOST,
    )  # fmt: skip
    found = {}
    for instance in answer["Instances"]:
        attributes = instance["Attributes"]
        key = (attributes.get(EXTERNAL_ID, ""), attributes.get(ADDRESS, ""))
        found[key] = instance["HealthStatus"] == "HEALTHY"
    # That of this very answer: it may be newer than the one that was asked for.
    return _Known(answer["InstancesRevision"], found)
