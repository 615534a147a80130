"""Which writes make ECS what is wanted: order and numbers, without ECS."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollouts.platforms.ecs_place import Found, TaskSet
from rollouts.platforms.ecs_plan import (
    Create,
    Delete,
    Desire,
    Promote,
    Scale,
    Write,
    percent,
    plan,
)

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def a_set(version: int, **fields: Any) -> TaskSet:
    made = TaskSet(
        id=f"ecs-svc/{version}", version=version, status="ACTIVE", percent=100.0, desired=2,
        running=2, pending=0, steady=True, created=LONG_AGO,
    )  # fmt: skip
    return replace(made, **fields)


def found(desired: int, *sets: TaskSet) -> Found:
    return Found(desired, sets, ())


@pytest.mark.parametrize("desired", range(1, 101))
def test_ecs_which_rounds_up_makes_the_asked_count_of_the_percentage(desired: int) -> None:
    for count in range(1, desired + 1):
        assert math.ceil(desired * percent(count, desired) / 100) == count


def test_nothing_is_written_when_it_is_so_already() -> None:
    assert plan(found(2, a_set(1, status="PRIMARY"), a_set(2)), {1: 2, 2: 2}, 1) == []


def test_a_version_without_a_set_gets_one() -> None:
    assert plan(found(0), {7: 2}, None) == [Desire(2), Create(7, 100.0)]


def test_a_set_that_drains_does_not_count() -> None:
    draining = a_set(7, status="DRAINING")
    assert plan(found(2, draining), {7: 2}, None) == [Create(7, 100.0)]


def test_the_stable_version_becomes_primary_when_it_is_steady() -> None:
    old, new = a_set(1, status="PRIMARY"), a_set(2)
    assert plan(found(2, old, new), {1: 2, 2: 2}, 2) == [Promote(new)]
    waits = replace(new, steady=False)
    assert plan(found(2, old, waits), {1: 2, 2: 2}, 2) == []


def test_the_primary_one_goes_last() -> None:
    old, other = a_set(1, status="PRIMARY"), a_set(2)
    assert plan(found(2, old, other), {}, None) == [Delete(other), Delete(old), Desire(0)]


def test_the_stable_version_is_primary_before_the_old_primary_goes() -> None:
    old, new = a_set(1, status="PRIMARY"), a_set(2)
    assert plan(found(2, old, new), {2: 2}, 2) == [Promote(new), Delete(old)]


def test_of_two_sets_of_one_version_the_older_stays() -> None:
    first, second = a_set(1), a_set(1, id="x", created=LONG_AGO + timedelta(seconds=1))
    assert plan(found(2, second, first), {1: 2}, None) == [Delete(second)]


def test_more_tasks_are_asked_for_before_a_set_shrinks() -> None:
    serves, drains = a_set(1), a_set(2)
    assert plan(found(2, serves, drains), {1: 4, 2: 2}, None) == [Desire(4), Scale(drains, 50.0)]


def test_a_set_grows_before_fewer_tasks_are_asked_for() -> None:
    serves, other = a_set(1, desired=4), a_set(2, percent=50.0)
    assert plan(found(4, serves, other), {1: 2, 2: 2}, None) == [Scale(other, 100.0), Desire(2)]


counts = st.dictionaries(st.integers(1, 4), st.integers(1, 20), max_size=4)


@given(counts, counts, st.sampled_from([None, 1, 2, 3, 4]))
def test_no_set_that_stays_ever_has_fewer_tasks_than_before_and_after(
    before: Mapping[int, int], after: Mapping[int, int], stable: int | None
) -> None:
    world = _World(before)
    least = {pk: min(before[pk], after[pk]) for pk in before.keys() & after.keys()}
    for write in plan(world.found(), after, stable):
        world.do(write)
        assert all(world.tasks(pk) >= count for pk, count in least.items()), write
    assert {pk: world.tasks(pk) for pk in world.percents} == after
    assert plan(world.found(), after, world.primary) == []


class _World:
    """ECS as far as counting goes."""

    def __init__(self, counts: Mapping[int, int]) -> None:
        self.desired = max(counts.values(), default=0)
        self.percents = {pk: percent(count, self.desired) for pk, count in counts.items()}
        self.primary: int | None = None

    def tasks(self, pk: int) -> int:
        return math.ceil(self.desired * self.percents[pk] / 100)

    def found(self) -> Found:
        sets = [
            a_set(pk, percent=value, status="PRIMARY" if pk == self.primary else "ACTIVE")
            for pk, value in self.percents.items()
        ]
        return found(self.desired, *sets)

    def do(self, write: Write) -> None:
        match write:
            case Promote(set=chosen):
                self.primary = chosen.version
            case Delete(set=chosen):
                del self.percents[chosen.version]
            case Scale(set=chosen, percent=value):
                self.percents[chosen.version] = value
            case Desire(count=count):
                self.desired = count
            case Create(version=pk, percent=value):
                self.percents[pk] = value
