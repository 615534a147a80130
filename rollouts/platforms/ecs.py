"""The platform ``ecs``: each version is a task set of an EXTERNAL service on Fargate.

The port, and the edge where errors of AWS become ours. What is there is ``ecs_place``, what to
write ``ecs_plan`` and ``ecs_sets``, what runs ``ecs_tasks``. Never makes or removes the service
itself: the stack ``app`` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from rollouts.errors import (
    AwsError,
    AwsGone,
    InvalidInput,
    LockBusy,
    PlatformError,
    PlatformRefused,
    PlatformUnreachable,
)
from rollouts.models import Service, Version
from rollouts.platforms import ecs_sets
from rollouts.platforms.base import Joins, Pace, Task
from rollouts.platforms.ecs_place import Found, Place, gone, look, place_of
from rollouts.platforms.ecs_tasks import tasks_of

# What ECS refuses only because something else is not known everywhere yet.
SOON = ("does not have an associated load balancer", "Unable to assume", "unable to assume")
FEWEST_DEATHS, MOST_DEATHS = 3, 200  # as the circuit breaker of ECS


class EcsPlatform:
    pace = Pace(busy_s=2.0, idle_s=5.0, lease_s=15.0, remote=True)

    def deaths_allowed(self, tasks: int) -> int:
        return min(MOST_DEATHS, max(FEWEST_DEATHS, math.ceil(tasks / 2)))

    def apply(
        self, service: Service, counts: Mapping[Version, int], *, revision: int, joins: Joins
    ) -> None:
        with _at(service) as place:
            if place.made or counts:
                ecs_sets.settle(place, ecs_sets.wanted_of(service, counts, joins), revision)

    def observe(self, service: Service) -> Mapping[int, Sequence[Task]]:
        with _at(service) as place:
            if not place.made and not _wanted(service):
                return {}
            found = _found(place)
            return tasks_of(place, found) if found else {}

    def messages(self, service: Service) -> Sequence[tuple[datetime, str]]:
        """What ECS itself says of the service: when and what, newest first, at most 100.

        One call. Raises PlatformError.
        """
        with _at(service) as place:
            found = _found(place) if place.made else None
            events = found.events if found else ()
            return [(event["createdAt"], str(event["message"])) for event in events]


def _wanted(service: Service) -> bool:
    return service.versions.filter(count__gt=0).exists()


def _found(place: Place) -> Found | None:
    """None when the service is gone and nothing is wanted of it."""
    try:
        found = look(place)
    except AwsGone:
        if _wanted(place.service):
            raise
        return None
    if found is None and _wanted(place.service):
        raise gone(place)
    return found


@contextmanager
def _at(service: Service) -> Iterator[Place]:
    """Where the service is; errors inside become PlatformError."""
    try:
        yield place_of(service)
    except InvalidInput as error:
        raise PlatformRefused(str(error)) from error
    except LockBusy as error:
        raise PlatformUnreachable(str(error)) from error
    except AwsError as error:
        raise _ours(error) from error


def _ours(error: AwsError) -> PlatformError:
    """The error of AWS as one of the port, with the same sentence."""
    if not error.permanent:
        return PlatformUnreachable(str(error))
    soon = any(words in str(error) for words in SOON)
    return PlatformRefused(str(error), permanent=not soon)
