"""The lease in the database: one at a time, ends by itself, is looked at before each write."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rollouts import clock, locks
from rollouts.errors import LockBusy
from rollouts.models import Lock

pytestmark = pytest.mark.django_db


def test_one_at_a_time() -> None:
    with locks.hold("route", seconds=5, wait_s=0) as held:
        held.check()
        with (
            pytest.raises(LockBusy, match="Another worker"),
            locks.hold("route", seconds=5, wait_s=0),
        ):
            raise AssertionError("held twice")
        with locks.hold("other", seconds=5, wait_s=0):
            held.check()
    with locks.hold("route", seconds=5, wait_s=0):
        held_again = Lock.objects.get(name="route")
    assert held_again.owner


def test_what_a_killed_owner_held_is_free_when_its_time_is_over() -> None:
    past = clock.moment().now - timedelta(seconds=1)
    Lock.objects.create(name="route", owner="killed", until=past)
    with locks.hold("route", seconds=5, wait_s=0) as held:
        held.check()


def test_who_was_too_slow_finds_out_before_writing() -> None:
    with locks.hold("route", seconds=5, wait_s=0) as held:
        Lock.objects.filter(name="route").update(owner="another")
        with pytest.raises(LockBusy, match="nothing was written"):
            held.check()
    assert Lock.objects.get(name="route").owner == "another", "it gives back only its own"


def test_a_lease_ends_also_when_the_wall_clock_stands_still() -> None:
    with locks.hold("route", seconds=0.0, wait_s=0) as held, pytest.raises(LockBusy):
        held.check()
