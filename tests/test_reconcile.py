"""Ticks against the database, with a platform and a router in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollouts import actions, reconcile, rows
from rollouts.domain.decide import decide
from rollouts.domain.plan import Step
from rollouts.domain.state import Phase
from rollouts.errors import PlatformRefused
from rollouts.models import Event, Rollout, Route, Service, StepRecord, Task
from rollouts.platforms.base import Pace
from rollouts.routers.base import Caps

HALF = (Step(50, hold_s=60), Step(100))


@pytest.fixture
def stable(service: Service, version: Any, ask: Any, tick: Any) -> Service:
    """The service with 0.9 serving 100 %."""
    actions.request_deploy(service, version("0.9"), plan=HALF, plan_name="Half", ask=ask())
    served: Service = tick()
    return served


def start(service: Service, version: Any, ask: Any, label: str = "1.0") -> Rollout:
    return actions.request_deploy(
        service, version(label), plan=HALF, plan_name="Half, then all", ask=ask()
    )


def test_the_first_deploy_goes_straight_to_100(stable: Service, version: Any) -> None:
    assert stable.stable == version("0.9")
    assert stable.weights == {str(version("0.9").pk): 100}


def test_a_rollout_walks_through_its_plan(stable: Any, version: Any, ask: Any, tick: Any) -> None:
    rollout = start(stable, version, ask)
    service = tick()
    assert service.weight_of(version("1.0").pk) == 50
    service = tick(59)
    assert service.weight_of(version("1.0").pk) == 50
    service = tick(1)
    rollout.refresh_from_db()
    assert service.stable == version("1.0")
    assert (rollout.phase, rollout.finished_at is not None) == (Phase.SUCCEEDED, True)


def test_every_weight_change_is_one_route_and_one_event(
    stable: Any, version: Any, ask: Any, tick: Any
) -> None:
    start(stable, version, ask)
    service = tick(0)
    service = tick(60)
    generations = list(Route.objects.order_by("generation").values_list("generation", flat=True))
    assert generations == list(range(1, service.generation + 1))
    told = Event.objects.exclude(generation=None).order_by("generation")
    assert list(told.values_list("generation", flat=True)) == generations


def test_the_timeline_has_a_row_for_each_step(
    stable: Any, version: Any, ask: Any, tick: Any
) -> None:
    rollout = start(stable, version, ask)
    tick()
    tick(60)
    keys = list(StepRecord.objects.filter(rollout=rollout).values_list("key", "outcome"))
    assert keys == [
        ("provision", "done"),
        ("start", "done"),
        ("shift-0", "done"),
        ("hold-0", "done"),
        ("shift-1", "done"),
        ("promote", "done"),
    ]


def test_a_wall_clock_jump_does_not_shorten_a_hold(
    stable: Any, version: Any, ask: Any, tick: Any, clock: Any
) -> None:
    start(stable, version, ask)
    tick()
    jumped = clock.moment
    clock.moment = type(jumped)(jumped.now + timedelta(days=1), jumped.mono, jumped.boot)
    service = tick(10)
    assert service.weight_of(version("1.0").pk) == 50
    assert Rollout.objects.live().get().left == 50


def test_on_another_machine_the_wall_clock_counts(
    stable: Any, version: Any, ask: Any, tick: Any, clock: Any
) -> None:
    start(stable, version, ask)
    tick()
    at = clock.moment
    clock.moment = type(at)(at.now + timedelta(seconds=20), 5.0, "boot-2")
    tick()
    assert Rollout.objects.live().get().left == pytest.approx(40, abs=0.01)


def test_a_tick_that_read_before_a_wish_stores_nothing(
    stable: Any, version: Any, ask: Any, tick: Any, clock: Any
) -> None:
    rollout = start(stable, version, ask)
    tick()
    late = rows.read(stable.pk)
    seen = reconcile.observe(late, clock.moment)
    actions.request_rollback(rollout, ask=ask())
    reconcile.tick_wish(stable.pk, clock.moment)
    state = rows.state_of(late)
    assert rows.store(late, state, decide(state, seen, 3600.0), clock.moment) is False
    assert Service.objects.get(pk=stable.pk).weight_of(version("1.0").pk) == 0


def test_a_rollback_needs_neither_platform_nor_observation(
    stable: Any, version: Any, ask: Any, tick: Any, clock: Any, world: Any
) -> None:
    rollout = start(stable, version, ask)
    tick()
    world.platform_down = True
    actions.request_rollback(rollout, ask=ask(reason="looks bad"))
    reconcile.tick_wish(stable.pk, clock.moment)
    assert world.weights[stable.pk].weights[version("0.9").target] == 100
    rollout.refresh_from_db()
    assert rollout.phase == Phase.ROLLED_BACK
    assert "looks bad" in rollout.reason


def test_a_rollback_is_not_done_before_the_proxies_confirm(
    stable: Any, version: Any, ask: Any, tick: Any, clock: Any, world: Any
) -> None:
    rollout = start(stable, version, ask)
    tick()
    world.silent = True
    actions.request_rollback(rollout, ask=ask())
    reconcile.tick_wish(stable.pk, clock.moment)
    service = tick(1)
    rollout.refresh_from_db()
    assert rollout.phase == Phase.ROLLING_BACK
    assert "has not acknowledged" in service.waiting
    world.silent = False
    tick(1)
    tick(1)
    rollout.refresh_from_db()
    assert rollout.phase == Phase.ROLLED_BACK


def test_a_rollback_turns_automatic_deploys_off(
    stable: Any, version: Any, ask: Any, tick: Any
) -> None:
    actions.request_rollback(start(stable, version, ask), ask=ask())
    service = tick()
    assert not service.automatic_deploys
    assert "1.0" in service.automatic_why


def test_with_the_control_plane_away_nothing_moves_and_the_page_says_why(
    stable: Any, version: Any, ask: Any, tick: Any, world: Any
) -> None:
    world.router_down = True
    start(stable, version, ask)
    service = tick(1, times=3)
    assert "does not answer" in service.waiting
    assert Rollout.objects.live().get().phase == Phase.PROGRESSING


def test_with_the_platform_away_nothing_moves_up(
    stable: Any, version: Any, ask: Any, tick: Any, world: Any
) -> None:
    start(stable, version, ask)
    tick()
    world.platform_down = True
    service = tick(60, times=3)
    assert service.weight_of(version("1.0").pk) == 50
    assert "cannot be seen" in service.waiting


def test_all_tasks_dead_at_50_goes_back_with_the_reason(
    stable: Any, version: Any, ask: Any, tick: Any, world: Any
) -> None:
    rollout = start(stable, version, ask)
    tick()
    world.kill(version("1.0"))
    service = tick(0.5)
    rollout.refresh_from_db()
    assert service.weight_of(version("0.9").pk) == 100
    assert "signal 9" in rollout.reason


def test_after_success_the_old_version_stays_warm_then_drains_then_goes(
    stable: Any, version: Any, ask: Any, tick: Any
) -> None:
    start(stable, version, ask)
    tick()
    tick(60)
    service = tick(1)
    assert version("0.9").count == 2
    tick(service.scale_down_delay_s - 2)
    assert version("0.9").keep == 2
    tick(2)
    assert (version("0.9").count, version("0.9").keep) == (2, 0)
    tick(service.drain_s)
    tick()
    assert version("0.9").count == 0
    assert not Task.objects.filter(version=version("0.9")).exists()


def test_a_return_to_a_warm_version_is_one_weight_write(
    stable: Any, version: Any, ask: Any, tick: Any, world: Any
) -> None:
    start(stable, version, ask)
    tick()
    tick(60)
    before = len(world.pushes)
    actions.request_return(stable_now(stable), version("0.9"), ask=ask())
    service = tick(1)
    assert service.stable == version("0.9")
    assert len(world.pushes) == before + 1
    assert version("0.9").retire_left is None


def stable_now(service: Service) -> Service:
    return Service.objects.select_related("mesh", "stable").get(pk=service.pk)


def test_an_idle_service_writes_nothing_but_its_next_time(stable: Any, tick: Any) -> None:
    before = tick()
    after = tick(2)
    assert after.ticks == before.ticks
    assert not Event.objects.filter(at__gt=before.wake_at).exists()


def test_a_leased_service_is_not_ticked_twice(stable: Any, clock: Any) -> None:
    now = clock.moment.now
    Service.objects.filter(pk=stable.pk).update(wake_at=now, lease_until=now + timedelta(seconds=3))
    assert reconcile.tick_due(clock.moment) == 0
    later = clock.pass_(4)
    assert reconcile.tick_due(later) == 1


def test_a_service_without_rollout_still_gets_its_next_tick(stable: Any, clock: Any) -> None:
    assert reconcile.tick_due(clock.pass_(3)) == 1
    assert Service.objects.get(pk=stable.pk).wake_at > clock.moment.now


def test_weights_that_nobody_proves_count_only_when_they_have_settled(
    stable: Any, version: Any, ask: Any, world: Any, tick: Any, clock: Any
) -> None:
    world.caps = Caps(settle_s=15.0, provable=False)
    rollout = start(stable, version, ask)
    tick()
    rollout.refresh_from_db()
    assert (rollout.phase, rollout.stage) == ("progressing", "shift")
    assert "counts as in force in 15 s" in tick(0.1).waiting
    clock.moment = replace(clock.moment, now=clock.moment.now + timedelta(hours=1))
    tick(10)
    rollout.refresh_from_db()
    assert rollout.stage == "shift", "the wall clock jumped, no time has passed"
    tick(5)
    rollout.refresh_from_db()
    assert rollout.stage == "hold"


def test_tasks_outlive_their_last_request_as_long_as_the_router_asks(
    stable: Any, version: Any, ask: Any, world: Any, tick: Any
) -> None:
    world.caps = Caps(hold_before_scale_in_s=120.0)
    rollout = start(stable, version, ask)
    tick(0, times=2)
    actions.request_rollback(rollout, ask=ask())
    tick(31, times=2)
    tick(100)
    assert version("1.0").count == 2
    tick(25)
    assert version("1.0").count == 0


def test_targets_exist_before_tasks_and_go_after_them(
    stable: Any, version: Any, ask: Any, world: Any, tick: Any
) -> None:
    start(stable, version, ask)
    tick()
    new = version("1.0")
    assert world.joins[stable.pk][new.pk] == {"target": new.target}
    assert world.targets[stable.pk] == {version("0.9").target, new.target}


def test_what_a_platform_refuses_for_good_ends_the_try_with_its_reason(
    stable: Any, version: Any, ask: Any, world: Any, tick: Any, monkeypatch: Any
) -> None:
    def apply(*_: object, **__: object) -> None:
        raise PlatformRefused("AWS does not allow ecs:CreateTaskSet.")

    rollout = start(stable, version, ask)
    with monkeypatch.context() as broken:
        broken.setattr("tests.fakes.FakePlatform.apply", apply)
        tick(1, times=3)
    rollout.refresh_from_db()
    assert rollout.phase == "rolled_back"
    assert "cannot be started: AWS does not allow ecs:CreateTaskSet." in rollout.reason
    assert tick(1).trouble == "", "it says so until an apply goes through"


def test_a_door_that_was_not_heard_does_not_ask_again(
    stable: Any, version: Any, ask: Any, world: Any, tick: Any, clock: Any, monkeypatch: Any
) -> None:
    rollout = start(stable, version, ask)
    tick()
    world.router_down = True
    looks: list[object] = []
    monkeypatch.setattr(reconcile, "observe", lambda *seen: looks.append(seen))
    actions.request_rollback(rollout, ask=ask())
    reconcile.tick_wish(stable.pk, clock.moment)
    assert not looks
    service = stable_now(stable)
    assert service.weight_of(version("0.9").pk) == 100, "the wish is stored and decided"
    assert service.trouble == "The fake control plane does not answer."


def test_what_holds_weights_up_is_what_the_page_says(
    stable: Any, version: Any, ask: Any, world: Any, tick: Any
) -> None:
    rollout = start(stable, version, ask)
    tick()
    world.router_down = True
    actions.request_rollback(rollout, ask=ask())
    assert tick(1, times=2).waiting == "The fake control plane does not answer."
    world.router_down = False
    assert tick(1, times=2).waiting == ""


def test_pages_know_since_when_a_task_runs(stable: Any) -> None:
    started = Task.objects.filter(service=stable).values_list("started_at", flat=True)
    assert {at.timestamp() for at in started if at} == {1_750_000_000.0}


def test_where_a_look_is_slow_a_door_moves_the_weights_and_leaves_the_rest(
    stable: Any, version: Any, ask: Any, world: Any, tick: Any, clock: Any
) -> None:
    world.pace = Pace(busy_s=2.0, idle_s=5.0, remote=True)
    rollout = start(stable, version, ask)
    tick()
    world.platform_down = True  # it would hang
    actions.request_rollback(rollout, ask=ask())
    reconcile.tick_wish(stable.pk, clock.moment)
    service = stable_now(stable)
    assert world.weights[stable.pk].weights[version("0.9").target] == 100
    assert service.trouble == ""
    assert service.wake_at == clock.moment.now, "a worker goes on at once"


def test_what_was_refused_before_does_not_end_a_new_try(
    stable: Any, version: Any, ask: Any, world: Any, tick: Any, clock: Any
) -> None:
    Service.objects.update(trouble="AWS does not allow it.", trouble_lasts=True)
    world.pace = Pace(remote=True)
    rollout = start(stable, version, ask)
    reconcile.tick_wish(stable.pk, clock.moment)
    rollout.refresh_from_db()
    assert rollout.phase == Phase.PROVISIONING
    tick(1, times=2)
    rollout.refresh_from_db()
    assert rollout.phase == Phase.PROGRESSING
