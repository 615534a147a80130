"""Whole rollouts through ticks, with weights on the fake AWS; each fact for both routers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rollouts import actions, clock, locks, reconcile
from rollouts import aws as calls
from rollouts.domain.plan import Step
from rollouts.domain.state import Phase, Verdict
from rollouts.errors import LockBusy, RouterError, RouterUnreachable
from rollouts.models import Lock, Rollout, Route, Service
from rollouts.routers.base import router
from tests.aws.routers.side import check_history

HALF = (Step(50, hold_s=60), Step(100))


@pytest.fixture
def stable(service: Service, version: Any, ask: Any, tick: Any) -> Service:
    """The service with 0.9 serving 100 %."""
    actions.request_deploy(service, version("0.9"), plan=HALF, plan_name="Half", ask=ask())
    return until(tick, service, lambda s: s.stable_id is not None)


def until(tick: Any, service: Service, holds: Any, times: int = 8) -> Service:
    for _ in range(times):
        now: Service = tick(1)
        if holds(now):
            return now
    raise AssertionError(f"not in {times} ticks: {now.waiting or now.weights}")


def start(service: Service, version: Any, ask: Any) -> Rollout:
    return actions.request_deploy(service, version("1.0"), plan=HALF, plan_name="Half", ask=ask())


def at_half(stable: Service, version: Any, ask: Any, tick: Any) -> Rollout:
    rollout = start(stable, version, ask)
    until(tick, stable, lambda s: s.weight_of(version("1.0").pk) == 50 and held(rollout))
    return rollout


def held(rollout: Rollout) -> bool:
    return Rollout.objects.get(pk=rollout.pk).stage == "hold"


def phase(rollout: Rollout) -> str:
    return str(Rollout.objects.get(pk=rollout.pk).phase)


def test_the_first_version_takes_over_from_the_spare(stable: Service, side: Any) -> None:
    assert side.weights() == {"0.9": 100}
    assert side.targets() == {"spare", "0.9"}


def test_a_rollout_goes_half_then_all_and_leaves_nothing_behind(
    stable: Any, version: Any, ask: Any, tick: Any, side: Any
) -> None:
    rollout = at_half(stable, version, ask, tick)
    assert side.weights() == {"0.9": 50, "1.0": 50}
    tick(60)
    until(tick, stable, lambda s: phase(rollout) == Phase.SUCCEEDED)
    assert side.weights() == {"0.9": 0, "1.0": 100}, "the old one is named as long as it runs"
    tick(601)
    until(tick, stable, lambda s: version("0.9").count == 0)
    tick(1, times=2)
    assert side.weights() == {"1.0": 100}
    assert side.targets() == {"spare", "1.0"}


def test_each_weights_are_written_once_in_the_order_of_generations(
    stable: Any, version: Any, ask: Any, tick: Any, side: Any
) -> None:
    rollout = at_half(stable, version, ask, tick)
    tick(60)
    until(tick, stable, lambda s: phase(rollout) == Phase.SUCCEEDED)
    old, new = side.name("0.9"), side.name("1.0")
    after_first = [w.weights for w in side.written() if new in w.weights]
    assert after_first == [{old: 100, new: 0}, {old: 50, new: 50}, {old: 0, new: 100}]


def test_a_step_is_two_calls_and_a_look_is_one(
    stable: Any, version: Any, ask: Any, tick: Any, side: Any
) -> None:
    at_half(stable, version, ask, tick)
    side.calls()
    service = Service.objects.get(pk=stable.pk)
    by = router(stable.mesh.router)
    assert by.apply(service, service.generation, wait_s=0).verdict is Verdict.YES
    assert side.calls() == [side.read_call]
    weights = {str(version("0.9").pk): 25, str(version("1.0").pk): 75}
    Service.objects.filter(pk=service.pk).update(weights=weights, generation=9)
    Route.objects.create(service=service, generation=9, weights=weights, at=clock.moment().now)
    confirmed = by.apply(service, 9, wait_s=0)
    assert (confirmed.generation, confirmed.verdict) == (9, Verdict.YES)
    assert side.calls() == [side.read_call, side.write_call]


def test_a_rollback_puts_everything_back_with_both_versions_named(
    stable: Any, version: Any, ask: Any, tick: Any, side: Any, clock: Any
) -> None:
    rollout = at_half(stable, version, ask, tick)
    actions.request_rollback(rollout, ask=ask())
    reconcile.tick_wish(stable.pk, clock.moment)
    assert side.weights() == {"0.9": 100, "1.0": 0}
    assert phase(rollout) == Phase.ROLLED_BACK
    tick(31, times=4)
    tick(1, times=2)
    assert side.targets() == {"spare", "0.9"}
    assert side.weights() == {"0.9": 100}


def test_weights_of_a_stranger_are_told_and_put_back(
    stable: Any, version: Any, ask: Any, tick: Any, side: Any, caplog: Any
) -> None:
    at_half(stable, version, ask, tick)
    service = Service.objects.get(pk=stable.pk)
    side.put({"0.9": 1, "1.0": 3})
    seen = router(service.mesh.router).observe(service)
    assert seen.verdict is Verdict.NO
    assert f"25 % to {side.name('0.9')} and 75 % to {side.name('1.0')}" in seen.lagging[0]
    assert "somebody else changed it" in seen.lagging[0]
    tick(1)
    assert side.weights() == {"0.9": 50, "1.0": 50}
    assert "somebody else changed it" in caplog.text
    assert router(service.mesh.router).observe(service).lagging == ()


def test_relative_weights_that_mean_the_same_are_left_alone(
    stable: Any, version: Any, ask: Any, tick: Any, side: Any
) -> None:
    at_half(stable, version, ask, tick)
    side.put({"0.9": 1, "1.0": 1})
    side.calls()
    tick(1)
    assert side.write_call not in side.calls()
    assert side.weights() == {"0.9": 1, "1.0": 1}


@pytest.mark.parametrize("error", ["timeout-after", "reset-after", "500"])
def test_a_write_without_an_answer_is_looked_at_before_it_is_repeated(
    stable: Any, version: Any, ask: Any, tick: Any, side: Any, to_fake: Any, clock: Any, error: str
) -> None:
    rollout = at_half(stable, version, ask, tick)
    to_fake.calls_reset()
    to_fake.inject(side.service_name, side.write_call, error=error, times=1)
    actions.request_rollback(rollout, ask=ask())
    reconcile.tick_wish(stable.pk, clock.moment)
    assert phase(rollout) == Phase.ROLLING_BACK
    until(tick, stable, lambda s: phase(rollout) == Phase.ROLLED_BACK)
    assert side.weights() == {"0.9": 100, "1.0": 0}
    back = {side.name("0.9"): 100, side.name("1.0"): 0}
    assert [w.weights for w in side.written()] == [back], (
        "it took effect, so it is not written again"
    )


def test_a_rollback_goes_out_although_polls_are_held_back(
    stable: Any, version: Any, ask: Any, tick: Any, side: Any, to_fake: Any, clock: Any,
    monkeypatch: Any,
) -> None:  # fmt: skip
    rollout = at_half(stable, version, ask, tick)
    monkeypatch.setattr(calls, "SLOW_DOWN_S", 60.0)
    service = Service.objects.get(pk=stable.pk)
    to_fake.inject(side.service_name, side.read_call, error="ThrottlingException", times=2)
    with pytest.raises(RouterUnreachable, match="slowing"):
        router(service.mesh.router).observe(service)
    with pytest.raises(RouterUnreachable, match="going on in"):
        router(service.mesh.router).observe(service)
    actions.request_rollback(rollout, ask=ask())
    reconcile.tick_wish(stable.pk, clock.moment)
    assert side.weights() == {"0.9": 100, "1.0": 0}


def test_a_slow_worker_whose_lock_ended_writes_nothing(
    stable: Any, version: Any, ask: Any, tick: Any, side: Any, clock: Any, monkeypatch: Any
) -> None:
    rollout = start(stable, version, ask)
    until(tick, stable, lambda s: phase(rollout) == Phase.PROGRESSING)
    real = calls.call
    looked: list[str] = []

    def resumed(*args: Any, **named: Any) -> dict[str, Any]:
        """After the look, the slow worker sleeps; its lock ends, a rollback is asked for."""
        answer = real(*args, **named)
        if not looked:
            looked.append(args[2])
            Lock.objects.update(until=clock.moment.now - timedelta(hours=1))
            actions.request_rollback(rollout, ask=ask())
            reconcile.tick_wish(stable.pk, clock.moment)
        return answer

    side.put({"0.9": 90, "1.0": 10})  # so that the slow worker has something to write
    Route.objects.update(confirmed_at=None)  # and holds the lock while it looks
    monkeypatch.setattr(calls, "call", resumed)
    service = Service.objects.get(pk=stable.pk)
    with pytest.raises(RouterUnreachable, match="nothing was written"):
        router(service.mesh.router).apply(service, service.generation, wait_s=0)
    assert looked
    assert side.weights() == {"0.9": 100, "1.0": 0}


def test_a_lock_that_may_end_during_the_write_is_not_enough(
    stable: Any, version: Any, ask: Any, tick: Any, side: Any, monkeypatch: Any
) -> None:
    at_half(stable, version, ask, tick)
    side.put({"0.9": 90, "1.0": 10})
    monkeypatch.setattr("rollouts.routers.remote.LEASE_S", 0.2)
    service = Service.objects.get(pk=stable.pk)
    with pytest.raises(RouterUnreachable, match="nothing was written"):
        router(service.mesh.router).apply(service, service.generation, wait_s=0)
    assert side.weights() == {"0.9": 90, "1.0": 10}


def test_another_worker_that_writes_is_waited_for_then_said(
    stable: Any, side: Any, tick: Any
) -> None:
    service = Service.objects.get(pk=stable.pk)
    Route.objects.update(confirmed_at=None)
    with (
        locks.hold(f"service-{service.pk}-weights", seconds=20, wait_s=0),
        pytest.raises(RouterUnreachable, match="Another worker"),
    ):
        router(service.mesh.router).apply(service, service.generation, wait_s=0)


def test_a_rollback_does_not_wait_while_another_worker_makes_targets(
    stable: Any, version: Any, ask: Any, tick: Any, side: Any, clock: Any
) -> None:
    rollout = at_half(stable, version, ask, tick)
    actions.request_rollback(rollout, ask=ask())
    with locks.hold(f"service-{stable.pk}-targets", seconds=20, wait_s=0):
        reconcile.tick_wish(stable.pk, clock.moment)
    assert side.weights() == {"0.9": 100, "1.0": 0}
    assert phase(rollout) == Phase.ROLLED_BACK


class Killed(BaseException):
    """As by kill -9: nothing after it runs, apart from what the test lets run."""


@pytest.mark.parametrize("after", range(1, 8))
def test_whoever_is_killed_between_two_calls_is_taken_over(
    stable: Any, version: Any, ask: Any, tick: Any, side: Any, clock: Any, monkeypatch: Any,
    after: int,
) -> None:  # fmt: skip
    rollout = start(stable, version, ask)
    made: list[str] = []

    def count(real: Any) -> Any:
        def counted(*args: Any, **named: Any) -> Any:
            if len(made) == after:
                raise Killed
            answer = real(*args, **named)
            made.append(args[2])
            return answer

        return counted

    with monkeypatch.context() as dying:
        dying.setattr(calls, "call", count(calls.call))
        dying.setattr(calls, "pages", count(calls.pages))
        dying.setattr("rollouts.models.lock.LockQuerySet.give_back", lambda *_: None)
        with pytest.raises(Killed):
            tick(1, times=20)
    Lock.objects.update(until=clock.moment.now - timedelta(hours=1))
    until(tick, stable, lambda s: held(rollout))
    assert side.weights() == {"0.9": 50, "1.0": 50}
    tick(60)
    until(tick, stable, lambda s: phase(rollout) == Phase.SUCCEEDED)
    tick(601)
    until(tick, stable, lambda s: version("0.9").count == 0)
    tick(1, times=2)
    assert side.targets() == {"spare", "1.0"}
    check_history(side)


def test_a_service_at_rest_goes_back_to_the_spare(
    stable: Any, tick: Any, side: Any, clock: Any
) -> None:
    Service.objects.put_to_rest(stable.pk, clock.moment.now)
    tick(1, times=4)
    assert list(side.weights()) == ["spare"]
    assert side.targets() == {"spare"}


def test_what_meshui_did_not_make_is_not_removed(
    stable: Any, version: Any, tick: Any, side: Any, client: Any
) -> None:
    """A node or group with a name as ours, but without the tag."""
    name = side.name("1.1")
    if side.service_name == "appmesh":
        client("appmesh").create_virtual_node(
            meshName="shop", virtualNodeName=name, spec={"listeners": []}
        )
    else:
        vpc = stable.mesh.stacks.get().outputs["VpcId"]
        client("elbv2").create_target_group(
            Name=name, TargetType="ip", Protocol="HTTP", Port=80, VpcId=vpc
        )
    tick(1, times=2)
    assert "1.1" in side.targets()


def test_a_refusal_while_targets_are_made_ends_the_try_with_its_reason(
    stable: Any, version: Any, ask: Any, tick: Any, side: Any, to_fake: Any
) -> None:
    made = {"appmesh": "CreateVirtualNode", "elbv2": "CreateTargetGroup"}[side.service_name]
    to_fake.inject(side.service_name, made, error="AccessDeniedException")
    rollout = start(stable, version, ask)
    tick(1, times=4)
    assert phase(rollout) == Phase.ROLLED_BACK
    reason = Rollout.objects.get(pk=rollout.pk).reason
    assert f"AWS does not allow {side.service_name}:{made}" in reason
    assert side.weights() == {"0.9": 100}


def test_more_versions_than_a_route_can_name_are_refused(
    stable: Any, version: Any, tick: Any, side: Any, monkeypatch: Any
) -> None:
    by = router(stable.mesh.router)
    monkeypatch.setattr(type(by), "caps", type(by.caps)(max_targets=2))
    with pytest.raises(RouterError, match=r"names 2 versions at most.*destroy") as told:
        by.ensure_targets(stable, list(stable.versions.all()))
    assert told.value.permanent


def test_missing_stacks_are_named_and_waited_for(service: Service, version: Any, side: Any) -> None:
    service.mesh.stacks.all().delete()
    by = router(service.mesh.router)
    assert by.apply(service, 0, wait_s=0).verdict is Verdict.YES, "nothing is wanted"
    assert by.ensure_targets(service, []) == {}
    by.drop_targets(service, [])
    with pytest.raises(RouterError, match="No stack of shop has the output") as told:
        by.ensure_targets(service, [version("0.9")])
    assert not told.value.permanent


def test_a_mesh_without_region_is_refused_for_good(service: Service, settings: Any) -> None:
    settings.AWS_DEFAULT_REGION = ""
    service.mesh.settings = {}
    with pytest.raises(RouterError, match="names no AWS region") as told:
        router(service.mesh.router).observe(service)
    assert told.value.permanent


def test_the_lock_is_given_back(stable: Service) -> None:
    with locks.hold(f"service-{stable.pk}-weights", seconds=5, wait_s=0) as mine:
        mine.check()
    assert LockBusy("x").permanent is False
