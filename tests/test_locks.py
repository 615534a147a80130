"""The lease in the database: one at a time, ends by itself, is looked at before each write."""

from __future__ import annotations

import subprocess
import sys
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


def owner_of(name: str) -> str:
    return str(Lock.objects.values_list("owner", flat=True).get(name=name))


def ended_process() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_what_a_dead_process_of_this_machine_held_is_free_at_once() -> None:
    with locks.hold("route", seconds=60, wait_s=0):
        mine = owner_of("route")
    machine = mine.rsplit("-", 2)[0]
    later = clock.moment().now + timedelta(seconds=60)
    Lock.objects.filter(name="route").update(
        owner=f"{machine}-{ended_process()}-0123456789", until=later
    )
    with locks.hold("route", seconds=5, wait_s=0) as held:
        held.check()


@pytest.mark.parametrize("owner", ["another-1-{pid}-0123456789", "{mine}", "somebody"])
def test_nobody_else_is_taken_for_dead(owner: str) -> None:
    with locks.hold("route", seconds=60, wait_s=0):
        mine = owner_of("route")
    later = clock.moment().now + timedelta(seconds=60)
    named = owner.format(pid=ended_process(), mine=mine)
    Lock.objects.filter(name="route").update(owner=named, until=later)
    with pytest.raises(LockBusy), locks.hold("route", seconds=5, wait_s=0):
        raise AssertionError("taken from a living owner")


def test_a_write_that_might_outlast_the_lease_is_not_begun() -> None:
    with locks.hold("route", seconds=5, wait_s=0) as held:
        held.check(4.0)
        with pytest.raises(LockBusy):
            held.check(6.0)
