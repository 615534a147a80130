"""Whole rollouts through ticks, with tasks on the fake AWS."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from rollouts import actions, reconcile
from rollouts.domain.state import Phase
from rollouts.models import Service, Task
from rollouts.platforms.base import platform


def test_a_first_deploy_makes_one_task_set_and_it_becomes_primary(stable: Any, side: Any) -> None:
    assert side.running() == {"0.9": 2}
    assert side.primary() == ["0.9"]
    assert side.described()["desiredCount"] == 2
    (made,) = side.sets()
    assert made["externalId"] == side.version("0.9").target
    assert made["scale"] == {"value": 100.0, "unit": "PERCENT"}
    assert side.written() == [
        "UpdateService", "RegisterTaskDefinition", "CreateTaskSet", "UpdateServicePrimaryTaskSet",
    ]  # fmt: skip


def test_tasks_are_seen_with_their_addresses(stable: Any, side: Any) -> None:
    rows = Task.objects.filter(service=stable).order_by("index")
    assert [(row.index, row.healthy, row.state, row.port) for row in rows] == [
        (0, True, "running", 50051), (1, True, "running", 50051),
    ]  # fmt: skip
    assert all(row.host.startswith("127.77.") for row in rows)


def test_a_rollout_goes_half_then_all_and_leaves_nothing_behind(
    stable: Any, side: Any, world: Any
) -> None:
    rollout = side.deploy("1.0")
    side.until(lambda _: side.held(rollout))
    assert side.running() == {"0.9": 2, "1.0": 2}
    assert side.primary() == ["0.9"], "until everybody has the new one"
    assert world.weights[stable.pk].weights == {
        side.version("0.9").target: 50, side.version("1.0").target: 50,
    }  # fmt: skip
    done = side.finished(rollout, seconds=60)
    assert done.phase == Phase.SUCCEEDED
    side.until(lambda _: side.primary() == ["1.0"])
    side.at_rest()
    assert side.running() == {"1.0": 2}
    assert side.families() == {"1.0"}


def test_tasks_of_a_removed_version_are_seen_until_they_have_ended(
    stable: Any, side: Any, clock: Any
) -> None:
    """What they have joined is removed after them."""
    rollout = side.deploy("1.0")
    side.until(lambda _: side.held(rollout))
    actions.request_rollback(rollout, ask=side.ask())
    reconcile.tick_wish(stable.pk, clock.moment)
    side.fake.speeds(task=60)
    side.tick(700, times=4)
    seen = Task.objects.filter(version=side.version("1.0"))
    assert {(row.state, row.healthy, row.port) for row in seen} == {("stopping", False, None)}
    assert len(seen) == 2
    side.fake.settle()
    side.tick(1)
    assert not seen.all().exists()


def test_a_rollback_leaves_only_the_old_version(stable: Any, side: Any, clock: Any) -> None:
    rollout = side.deploy("1.0")
    side.until(lambda _: side.held(rollout))
    actions.request_rollback(rollout, ask=side.ask(reason="looks bad"))
    reconcile.tick_wish(stable.pk, clock.moment)  # the door moves the weights, workers see to tasks
    side.tick(1)
    assert side.again(rollout).phase == Phase.ROLLED_BACK
    side.at_rest()
    assert side.running() == {"0.9": 2}
    assert side.families() == {"0.9"}
    assert side.primary() == ["0.9"]


def test_an_image_that_cannot_be_pulled_undoes_the_rollout_with_its_reason(
    stable: Any, side: Any
) -> None:
    rollout = side.finished(side.deploy("1.1"))
    assert rollout.phase == Phase.ROLLED_BACK
    assert "1.1 does not start: CannotPullContainerError" in rollout.reason
    assert "not found" in rollout.reason
    seen = Task.objects.filter(version=side.version("1.1")).order_by("index")
    assert {(row.state, row.exits) for row in seen if row.index >= 100} == {("stopped", 1)}
    side.at_rest()
    assert side.running() == {"0.9": 2}
    assert side.families() == {"0.9"}
    assert not Task.objects.filter(version=side.version("1.1")).exists()


def test_a_first_version_that_cannot_start_leaves_nothing(service: Any, side: Any) -> None:
    rollout = side.finished(side.deploy("1.1"))
    assert rollout.phase == Phase.FAILED
    side.at_rest()
    assert side.sets() == []
    assert side.families() == set()
    assert side.described()["desiredCount"] == 0


def test_a_task_that_exits_again_and_again_undoes_the_rollout(
    dying: Any, stable: Any, side: Any
) -> None:
    dying.labels.add("1.0")
    rollout = side.finished(side.deploy("1.0"))
    assert rollout.phase == Phase.ROLLED_BACK
    assert "Essential container in task exited. app: exit code 1." in rollout.reason
    died = Task.objects.filter(version=side.version("1.0"), state="stopped").order_by("index")
    assert [row.index for row in died] == list(range(100, 100 + len(died)))
    assert len(died) >= 3
    assert "no module named echo (1.0)" in {row.log for row in died}
    side.at_rest()
    assert side.families() == {"0.9"}


def test_a_death_is_looked_up_once_and_kept(dying: Any, stable: Any, side: Any) -> None:
    dying.labels.add("1.0")
    side.deploy("1.0")
    side.until(lambda _: Task.objects.filter(state="stopped").count() >= 2)
    first = dict(Task.objects.filter(state="stopped").values_list("name", "log"))
    calls = [call for call in side.fake.calls() if call["operation"] == "GetLogEvents"]
    side.until(lambda _: Task.objects.filter(state="stopped").count() > len(first))
    later = dict(Task.objects.filter(state="stopped").values_list("name", "log"))
    assert later.items() >= first.items()
    asked = [c for c in side.fake.calls() if c["operation"] == "GetLogEvents"]
    streams = [call["request"]["logStreamName"] for call in asked]
    assert len(streams) == len(set(streams)), "each log is asked for once"
    assert len(asked) > len(calls)


def test_of_many_deaths_the_newest_are_kept_and_none_comes_back(
    dying: Any, stable: Any, side: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("rollouts.platforms.ecs_stopped.KEPT", 4)
    monkeypatch.setattr("rollouts.platforms.ecs.FEWEST_DEATHS", 100)
    dying.labels.add("1.0")
    side.deploy("1.0")
    kept: set[str] = set()
    dropped: set[str] = set()

    def seen() -> int:
        now = set(Task.objects.filter(state="stopped").values_list("name", flat=True))
        assert len(now) <= 4
        assert not now & dropped
        dropped.update(kept - now)
        kept.clear()
        kept.update(now)
        return len(dropped)

    side.until(lambda _: seen() > 8, times=40)
    asked = [c for c in side.fake.calls() if c["operation"] == "GetLogEvents"]
    streams = [call["request"]["logStreamName"] for call in asked]
    assert len(streams) == len(set(streams))


def test_an_old_death_is_forgotten_but_not_while_a_rollout_goes_on(
    dying: Any, stable: Any, side: Any
) -> None:
    side.client("ecs").stop_task(
        cluster="echo", task=Task.objects.get(index=0).name, reason="Task failed ELB health checks"
    )
    side.until(lambda _: Task.objects.filter(state="stopped").exists())
    (name,) = Task.objects.filter(state="stopped").values_list("name", flat=True)
    rollout = side.deploy("1.0")
    side.until(lambda _: side.held(rollout))
    long_ago = timezone.now() - timedelta(hours=2)
    Task.objects.filter(name=name).update(seen_at=long_ago)
    side.tick(1)
    assert Task.objects.filter(name=name).exists()
    side.finished(rollout, seconds=60)
    Task.objects.filter(name=name).update(seen_at=long_ago)
    side.tick(1)
    assert not Task.objects.filter(name=name).exists()


def test_what_a_person_stops_is_no_death(stable: Any, side: Any) -> None:
    name = Task.objects.filter(service=stable, index=0).get().name
    side.client("ecs").stop_task(cluster="echo", task=name)
    side.until(lambda _: not Task.objects.filter(name=name).exists())
    side.until(lambda _: side.running() == {"0.9": 2})
    side.tick(1)
    assert not Task.objects.filter(state="stopped").exists()


def test_more_and_fewer_tasks_are_scaled_in_place(stable: Any, side: Any) -> None:
    before = [each["id"] for each in side.sets()]
    Service.objects.filter(pk=stable.pk).update(tasks=4)
    side.until(lambda _: side.running() == {"0.9": 4})
    Service.objects.filter(pk=stable.pk).update(tasks=1)
    side.until(lambda _: side.running() == {"0.9": 1}, seconds=5)
    assert [each["id"] for each in side.sets()] == before
    assert side.described()["desiredCount"] == 1


def test_a_version_that_was_destroyed_can_come_back(stable: Any, side: Any) -> None:
    side.finished(side.deploy("1.0"), seconds=60)
    side.at_rest()
    side.finished(side.deploy("0.9"), seconds=60)
    side.at_rest()
    assert side.running() == {"0.9": 2}
    assert side.families() == {"0.9"}


def test_an_idle_look_is_four_calls_and_an_idle_tick_five(stable: Any, side: Any) -> None:
    side.tick(1)
    side.fake.calls_reset()
    service = Service.objects.get(pk=stable.pk)
    platform("ecs").observe(service)
    assert [call["operation"] for call in side.fake.calls()] == [
        "DescribeServices", "ListTasks", "DescribeTasks", "DiscoverInstancesRevision",
    ]  # fmt: skip
    side.fake.calls_reset()
    side.tick(1)
    assert len(side.fake.calls()) == 5
    assert side.written() == []


def test_a_task_set_of_a_stranger_is_left_alone(stable: Any, side: Any) -> None:
    made = side.client("ecs").create_task_set(
        cluster="echo", service="echo_server", externalId="somebody",
        taskDefinition=side.sets()[0]["taskDefinition"], launchType="FARGATE",
        networkConfiguration=side.sets()[0]["networkConfiguration"],
        scale={"unit": "PERCENT", "value": 50},
    )["taskSet"]  # fmt: skip
    side.fake.settle()
    side.tick(1, times=2)
    assert made["id"] in [each["id"] for each in side.sets()]
    assert set(Task.objects.values_list("version__label", flat=True)) == {"0.9"}
    assert Task.objects.count() == 2


def test_what_the_platform_says_itself_is_told(stable: Any) -> None:
    said = platform("ecs").messages(stable)  # type: ignore[attr-defined]
    assert any("has reached a steady state" in text for _, text in said)
    assert said == sorted(said, key=lambda each: each[0], reverse=True)


def test_a_service_at_rest_keeps_nothing(stable: Any, side: Any, clock: Any) -> None:
    Service.objects.put_to_rest(stable.pk, clock.moment.now)
    side.until(lambda _: not side.sets())
    assert side.families() == set()
    assert side.described()["desiredCount"] == 0
