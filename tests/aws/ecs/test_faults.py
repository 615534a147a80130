"""AWS that throttles, refuses, answers too late, and workers that are killed between two calls."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from rollouts import aws as calls
from rollouts import clock, locks, reconcile
from rollouts.domain.state import Phase
from rollouts.errors import PlatformRefused, PlatformStale, PlatformUnreachable
from rollouts.models import Lock, Service, Task
from rollouts.models.lock import LockQuerySet
from rollouts.platforms.base import platform
from tests.aws.ecs.conftest import WRITES, Side, new_process


def snake(operation: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in operation).lstrip("_")


WRITE_CALLS = {snake(operation) for operation in WRITES}


def whole_life(side: Side) -> None:
    """0.9 is deployed, 1.0 replaces it, and nothing of 0.9 is left."""
    side.deploy("0.9")
    side.until(lambda s: s.stable_id is not None and side.primary() == ["0.9"], times=30)
    rollout = side.finished(side.deploy("1.0"), seconds=60, times=30)
    assert rollout.phase == Phase.SUCCEEDED
    side.until(lambda _: side.primary() == ["1.0"], times=30)
    side.until(lambda _: side.families() == {"1.0"}, seconds=700, times=30)
    side.at_rest()
    assert side.running() == {"1.0": 2}


# --- workers that die


class Killed(BaseException):
    """As by kill -9: nothing after it runs, apart from what the test lets run."""


class Dying:
    """Workers that die at each write: once before it, once after it, as far as ``when`` says."""

    def __init__(self, side: Side, monkeypatch: pytest.MonkeyPatch, when: set[str]) -> None:
        self.side, self.when, self.real, self.tick = side, when, calls.call, side.tick
        self.made: Counter[str] = Counter()
        self.deaths: list[str] = []
        self.dead = False
        give_back = LockQuerySet.give_back
        monkeypatch.setattr(calls, "call", self.call)
        monkeypatch.setattr(
            LockQuerySet, "give_back", lambda *args: None if self.dead else give_back(*args)
        )
        side.tick = self.outliving

    def call(self, account: Any, service: str, operation: str, /, **arguments: Any) -> Any:
        if operation not in WRITE_CALLS:
            return self.real(account, service, operation, **arguments)
        kinds = ("externalId", "family", "taskSet", "primaryTaskSet", "desiredCount")
        about = next((arguments[kind] for kind in kinds if kind in arguments), "")
        self._die("before", f"{operation} {about}")
        answer = self.real(account, service, operation, **arguments)
        self._die("after", f"{operation} {about}")
        return answer

    def _die(self, when: str, what: str) -> None:
        self.made[f"{when} {what}"] += 1
        if when in self.when and self.made[f"{when} {what}"] == 1:
            self.deaths.append(what)
            self.dead = True
            raise Killed

    def outliving(self, *args: Any, **named: Any) -> Service:
        """A tick of a process that may die; the next one begins when its lock has ended."""
        try:
            return self.tick(*args, **named)
        except Killed:
            self.dead = False
            new_process()
            Lock.objects.update(until=clock.moment().now - timedelta(hours=1))
            return Service.objects.get(pk=self.side.service.pk)


@pytest.mark.parametrize("when", [{"before"}, {"after"}])
def test_a_worker_killed_at_every_write_is_taken_over(
    service: Any, side: Side, monkeypatch: Any, when: set[str]
) -> None:
    dying = Dying(side, monkeypatch, when)
    whole_life(side)
    assert {what.partition(" ")[0] for what in dying.deaths} == WRITE_CALLS - {"update_task_set"}
    written = Counter(side.written())
    assert written["CreateTaskSet"] == 2
    assert written["RegisterTaskDefinition"] == 2, "what was registered is found again"
    assert written["DeleteTaskSet"] == 1


@pytest.mark.parametrize("when", [{"before"}, {"after"}])
def test_a_worker_killed_while_scaling_is_taken_over(
    stable: Any, side: Side, monkeypatch: Any, when: set[str]
) -> None:
    side.finished(side.deploy("1.0"), seconds=60)
    dying = Dying(side, monkeypatch, when)
    Service.objects.filter(pk=stable.pk).update(tasks=3)  # 0.9 still runs, and stays at two
    side.until(lambda _: side.running() == {"0.9": 2, "1.0": 3})
    assert [what.partition(" ")[0] for what in dying.deaths] == [
        "update_service", "update_task_set",
    ]  # fmt: skip


# --- AWS that does not answer


@pytest.mark.parametrize("error", ["reset-after", "500"])
def test_a_write_without_an_answer_is_looked_at_before_it_is_repeated(
    service: Any, side: Side, error: str
) -> None:
    for operation in WRITES:
        side.fake.inject("ecs", operation, error=error, times=1)
    whole_life(side)
    failed = {call["operation"] for call in side.fake.calls() if call["injected"]}
    assert failed == set(WRITES) - {"UpdateTaskSet"}
    written = Counter(side.written())
    assert (written["CreateTaskSet"], written["RegisterTaskDefinition"]) == (2, 2)
    assert written["DeleteTaskSet"] == 1


@pytest.mark.parametrize("operation", ["UpdateService", "UpdateTaskSet"])
def test_scaling_without_an_answer_is_looked_at_before_it_is_repeated(
    stable: Any, side: Side, operation: str
) -> None:
    side.finished(side.deploy("1.0"), seconds=60)
    Service.objects.filter(pk=stable.pk).update(tasks=3)  # 0.9 still runs, and stays at two
    side.fake.calls_reset()
    side.fake.inject("ecs", operation, error="reset-after", times=1)
    side.until(lambda _: side.running() == {"0.9": 2, "1.0": 3})
    assert side.written() == ["UpdateService", "UpdateTaskSet"]


def test_a_task_set_whose_making_timed_out_is_not_made_twice(
    service: Any, side: Side, impatient: None
) -> None:
    side.fake.inject("ecs", "CreateTaskSet", error="timeout-after", times=1)
    side.deploy("0.9")
    side.until(lambda s: s.stable_id is not None)
    assert side.written().count("CreateTaskSet") == 1


def test_a_request_that_arrives_twice_makes_one_set(
    stable: Any, side: Side, monkeypatch: Any
) -> None:
    """As when a list of task sets is not up to date yet: the token says that it is the same."""
    made = [call for call in side.fake.calls() if call["operation"] == "CreateTaskSet"]
    (asked,) = [call["request"] for call in made]
    answer = side.client("ecs").create_task_set(**asked)
    assert [answer["taskSet"]["id"]] == [each["id"] for each in side.sets()]


def test_a_set_that_somebody_deleted_is_made_again(stable: Any, side: Side) -> None:
    (made,) = side.sets()
    side.fake.speeds(task=60)
    side.client("ecs").delete_task_set(
        cluster="echo", service="echo_server", taskSet=made["id"], force=True
    )
    service = side.tick(1)
    assert "deleted outside meshui; making another" in service.trouble
    side.fake.speeds(task=0.05)
    side.until(lambda _: side.running() == {"0.9": 2} and side.steady())
    assert side.sets()[0]["id"] != made["id"]


@pytest.mark.parametrize(
    ("error", "kind", "permanent"),
    [
        ("ThrottlingException", PlatformUnreachable, False),
        ("500", PlatformUnreachable, False),
        ("reset-before", PlatformUnreachable, False),
        ("ExpiredTokenException", PlatformUnreachable, False),
        ("UpdateInProgressException", PlatformUnreachable, False),
        ("AccessDeniedException", PlatformRefused, True),
        ("LimitExceededException", PlatformRefused, True),
        ("InvalidParameterException", PlatformRefused, True),
        ("ClusterNotFoundException", PlatformRefused, True),
        ("ServiceNotFoundException", PlatformRefused, True),
    ],
)
def test_each_error_of_aws_is_one_of_the_port(
    stable: Any, side: Side, error: str, kind: Any, permanent: bool
) -> None:
    side.fake.inject("ecs", "DescribeServices", error=error)
    counts = {side.version("0.9"): 2}
    for ask in (
        lambda: platform("ecs").observe(stable),
        lambda: platform("ecs").apply(stable, counts, revision=10**9, joins={}),
    ):
        with pytest.raises(kind) as told:
            ask()
        assert told.value.permanent is permanent
        assert "ecs" in str(told.value) or "AWS" in str(told.value)


def test_while_nobody_answers_tasks_are_unknown_not_gone(stable: Any, side: Side) -> None:
    side.fake.inject("ecs", "*", error="reset-before")
    service = side.tick(1)
    assert service.weights == stable.weights
    assert Task.objects.filter(service=stable, healthy=True).count() == 2
    assert "AWS" in service.trouble
    side.fake.clear()
    assert side.tick(1).trouble == ""


# --- AWS that says no


@pytest.mark.parametrize("operation", ["RegisterTaskDefinition", "CreateTaskSet"])
def test_a_missing_right_ends_the_try_with_its_name_and_leaves_nothing(
    stable: Any, side: Side, operation: str
) -> None:
    side.fake.inject("ecs", operation, error="AccessDeniedException")
    rollout = side.finished(side.deploy("1.0"))
    assert rollout.phase == Phase.ROLLED_BACK
    assert f"AWS does not allow ecs:{operation}" in rollout.reason
    side.at_rest()
    assert side.families() == {"0.9"}
    assert side.running() == {"0.9": 2}


def test_deleting_definitions_is_not_worth_failing_for(stable: Any, side: Side) -> None:
    side.fake.inject("ecs", "DeleteTaskDefinitions", error="AccessDeniedException")
    side.finished(side.deploy("1.0"), seconds=60)
    service = side.at_rest()
    assert service.trouble == ""
    assert side.families() == {"1.0"}


def test_a_service_that_somebody_deleted_is_said_to_be_gone(stable: Any, side: Side) -> None:
    side.client("ecs").delete_service(cluster="echo", service="echo_server", force=True)
    side.fake.settle()
    with pytest.raises(PlatformRefused, match="echo_server of the cluster echo is gone") as told:
        platform("ecs").observe(stable)
    assert "changed outside meshui?" in str(told.value)
    assert "is gone, changed outside meshui?" in side.tick(1).trouble


def test_a_service_that_is_gone_is_no_trouble_when_nothing_is_wanted(
    stable: Any, side: Side, clock: Any
) -> None:
    Service.objects.put_to_rest(stable.pk, clock.moment.now)
    side.client("ecs").delete_service(cluster="echo", service="echo_server", force=True)
    side.fake.settle()
    assert side.tick(1).trouble == ""
    assert platform("ecs").observe(stable) == {}
    assert side.families() == set()


def test_missing_stacks_are_named(service: Any, side: Side) -> None:
    service.mesh.stacks.filter(name="app").update(outputs={})
    counts = {side.version("0.9"): 2}
    assert platform("ecs").observe(service) == {}, "nothing is wanted"
    platform("ecs").apply(service, {}, revision=10**9, joins={})
    with pytest.raises(PlatformRefused, match="EchoServerService: create the stack app first"):
        platform("ecs").apply(service, counts, revision=10**9, joins={})
    service.mesh.stacks.all().delete()
    with pytest.raises(PlatformRefused, match="Cluster: create the stack infra first"):
        platform("ecs").apply(service, counts, revision=10**9, joins={})


def test_a_service_that_the_stacks_do_not_know_is_refused(service: Any, side: Side) -> None:
    service.name = "shop.echo.local"
    with pytest.raises(PlatformRefused, match=r"not made for a service named shop\.echo\.local"):
        platform("ecs").apply(service, {side.version("0.9"): 1}, revision=10**9, joins={})


def test_a_mesh_without_region_is_refused(service: Any, settings: Any) -> None:
    settings.AWS_DEFAULT_REGION = ""
    service.mesh.settings = {}
    with pytest.raises(PlatformRefused, match="names no AWS region") as told:
        platform("ecs").observe(service)
    assert told.value.permanent


# --- workers that come late, or at once


def test_an_older_tick_writes_nothing(stable: Any, side: Side) -> None:
    side.fake.calls_reset()
    with pytest.raises(PlatformStale):
        platform("ecs").apply(stable, {}, revision=stable.ticks - 1, joins={})
    assert side.written() == []


def test_a_lock_that_may_end_during_the_write_is_not_enough(
    stable: Any, side: Side, monkeypatch: Any
) -> None:
    monkeypatch.setattr("rollouts.platforms.ecs_sets.LEASE_S", 0.2)
    with pytest.raises(PlatformUnreachable, match="nothing was written"):
        platform("ecs").apply(stable, {}, revision=10**9, joins={})
    assert side.running() == {"0.9": 2}


def test_another_worker_that_writes_is_waited_for_then_said(
    stable: Any, side: Side, monkeypatch: Any
) -> None:
    monkeypatch.setattr("rollouts.platforms.ecs_sets.LOCK_WAIT_S", 0.05)
    with (
        locks.hold(f"service-{stable.pk}-tasks", seconds=20, wait_s=0),
        pytest.raises(PlatformUnreachable, match="Another worker"),
    ):
        platform("ecs").apply(stable, {}, revision=10**9, joins={})


@pytest.mark.django_db(transaction=True)
def test_two_ticks_at_once_make_one_task_set(service: Any, side: Side, clock: Any) -> None:
    side.deploy("0.9")
    start, at = threading.Barrier(2), clock.pass_(1)

    def tick() -> None:
        try:
            start.wait(timeout=10)
            reconcile.tick(service.pk, at)
        finally:
            connection.close()

    threads = [threading.Thread(target=tick) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    side.until(lambda s: s.stable_id is not None)
    assert side.running() == {"0.9": 2}
    written = Counter(side.written())
    assert (written["CreateTaskSet"], written["RegisterTaskDefinition"]) == (1, 1)


# --- all of it


READS = (
    "DescribeTasks", "ListTasks", "DescribeTaskDefinition", "ListTaskDefinitionFamilies",
    "DiscoverInstances", "DiscoverInstancesRevision",
)  # fmt: skip


@pytest.mark.parametrize("seed", [1])
def test_among_random_failures_everything_comes_to_its_end(
    service: Any, side: Side, seed: int
) -> None:
    errors = ("reset-after", "reset-before", "500", "ThrottlingException", "ExpiredTokenException")
    for number, operation in enumerate((*WRITES, *READS)):
        error = errors[(number + seed) % len(errors)]
        side.fake.inject("*", operation, error=error, rate=0.25, seed=seed + number)
    whole_life(side)
    assert any(call["injected"] for call in side.fake.calls())
    written = Counter(side.written())
    assert written["CreateTaskSet"] == 2
