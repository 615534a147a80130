"""Which writes make ECS what is wanted, in which order. Pure.

``ecs_sets`` performs them one by one and may be killed between any two: what is left over, the next
look finds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rollouts.platforms.ecs_place import Found, TaskSet


@dataclass(frozen=True)
class Promote:
    """Make this set the service's PRIMARY."""

    set: TaskSet


@dataclass(frozen=True)
class Delete:
    """Remove a set with its tasks."""

    set: TaskSet


@dataclass(frozen=True)
class Desire:
    """Change the service's desired count, of which sets have a percentage."""

    count: int


@dataclass(frozen=True)
class Scale:
    set: TaskSet
    percent: float


@dataclass(frozen=True)
class Create:
    """Make a set for this version."""

    version: int
    percent: float


Write = Promote | Delete | Desire | Scale | Create


def plan(found: Found, counts: Mapping[int, int], stable: int | None) -> list[Write]:
    """Writes from what was found to ``counts`` tasks by version; none when it is so already.

    A set that stays never has fewer tasks than the lesser of before and after: what grows comes
    before the service's count falls, what shrinks comes after it rose.
    """
    stays = _stays(found.alive, counts)
    desired = max(counts.values(), default=0)
    scaled = [Scale(stays[pk], percent(counts[pk], desired)) for pk in sorted(stays)]
    grow = [each for each in scaled if each.percent > each.set.percent + 0.005]
    shrink = [each for each in scaled if each.percent < each.set.percent - 0.005]
    return [
        *_promote(stays.get(stable or 0)),
        *_delete(found.alive, stays),
        *([Desire(desired)] if desired > found.desired else []),
        *grow,
        *([Desire(desired)] if desired < found.desired else []),
        *shrink,
        *(
            Create(pk, percent(count, desired))
            for pk, count in sorted(counts.items())
            if pk not in stays
        ),
    ]


def percent(count: int, desired: int) -> float:
    """Percent of ``desired`` that ECS, which rounds up, makes ``count`` tasks of."""
    return math.floor(10_000 * count / desired) / 100 if desired else 0.0


def _stays(sets: Iterable[TaskSet], counts: Mapping[int, int]) -> dict[int, TaskSet]:
    """One set for each wanted version that has any: the PRIMARY one, or else the oldest."""
    stays: dict[int, TaskSet] = {}
    for each in sorted(sets, key=lambda s: (s.status != "PRIMARY", s.created, s.id)):
        if each.version in counts:
            stays.setdefault(each.version, each)
    return stays


def _promote(stable: TaskSet | None) -> list[Promote]:
    if stable is None or stable.status == "PRIMARY" or not stable.steady:
        return []
    return [Promote(stable)]


def _delete(sets: Iterable[TaskSet], stays: Mapping[int, TaskSet]) -> list[Delete]:
    surplus = [each for each in sets if stays.get(each.version) != each]
    return [Delete(each) for each in sorted(surplus, key=lambda s: s.status == "PRIMARY")]
