"""A hundred rollouts while calls of AWS fail at random: every one ends right.

Right is: it succeeded, or it was rolled back because somebody asked or because AWS refused, and the
reason says so. No weights are written twice or out of order, and nothing is left behind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from rollouts import actions, reconcile
from rollouts import aws as calls
from rollouts.actions import Ask
from rollouts.domain.plan import Step
from rollouts.domain.state import FINISHED, Phase
from rollouts.models import Rollout, Service, Version
from tests.aws import ecs_lay
from tests.aws.ecs.conftest import new_process
from tests.aws.routers import lay
from tests.aws.routers.side import SIDES, Side, check_history
from tests.fakeaws import world as fakeaws
from tests.fakeaws.control import Fake

# Of a hundred calls so many fail in each way; a quarter and more in all.
FAULTS = {
    "ThrottlingException": 10,
    "ExpiredTokenException": 0.5,
    "500": 4,
    "timeout-before": 2,
    "timeout-after": 4,
    "reset-before": 2,
    "reset-after": 4,
    "AccessDeniedException": 1,
}
PLANS = (
    (Step(50), Step(100)),
    (Step(10), Step(60, hold_s=1), Step(100)),
    (Step(0, approval=True, timeout_s=3, on_timeout="promote"), Step(100)),
    (Step(100),),
)
TICKS = 200  # of one second; a rollout that has not ended then never does


@pytest.fixture
def faults(to_fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let calls fail from now on. The fake hangs up soon, so that time-outs take no time."""
    monkeypatch.setattr(calls, "ATTEMPTS", 1)

    def begin(seed: int, share: float = 1.0) -> None:
        for number, (error, percent) in enumerate(FAULTS.items()):
            rate = share * percent / 100
            to_fake.inject(error=error, rate=rate, seed=seed + number, seconds=0.02)

    return begin


class Walk:
    """Rollouts of one service, one after the other, with a person who may roll back."""

    def __init__(self, service: Service, tick: Any, ask: Any, random: Random) -> None:
        self.service, self.tick, self.random = service, tick, random
        self.ask: Any = ask
        self.ends: Counter[str] = Counter()

    def next(self) -> None:
        """One rollout from its start to its end, which must be a right one."""
        rollout = self._deploy()
        back_at = self.random.choice([None, None, 0, 1, 2, 4, 7])
        for number in range(TICKS):
            if number == back_at and rollout.is_live:
                actions.request_rollback(rollout, ask=self._ask())
            self.tick(1)
            rollout = Rollout.objects.get(pk=rollout.pk)
            if not rollout.is_live:
                break
        self._check_end(rollout)

    def _deploy(self) -> Rollout:
        service = Service.objects.select_related("mesh", "stable").get(pk=self.service.pk)
        versions = list(service.versions.exclude(pk=service.stable_id or 0).order_by("pk"))
        version: Version = self.random.choice(versions)
        plan = self.random.choice(PLANS)
        return actions.request_deploy(
            service, version, plan=plan, plan_name="Random", ask=self._ask()
        )

    def _ask(self) -> Ask:
        made: Ask = self.ask(reason="the person wants it")
        return made

    def _check_end(self, rollout: Rollout) -> None:
        assert Phase(rollout.phase) in FINISHED, Service.objects.get(pk=self.service.pk).waiting
        asked = rollout.rollback_requested_at is not None
        refused = "AWS does not allow" in rollout.reason
        if rollout.phase != Phase.SUCCEEDED:
            assert asked or refused, rollout.reason
        self.ends["asked" if asked else "refused" if refused else rollout.phase] += 1
        service = Service.objects.get(pk=self.service.pk)
        expected = rollout.to_version_id
        if rollout.phase != Phase.SUCCEEDED:
            expected = rollout.from_version_id or 0
        assert {int(pk): w for pk, w in service.weights.items() if w} == (
            {expected: 100} if expected else {}
        )


def walk(service: Service, tick: Any, ask: Any, seed: int, times: int) -> Walk:
    Service.objects.filter(pk=service.pk).update(
        scale_down_delay_s=5, abort_delay_s=2, drain_s=1, keep_warm=1
    )
    walked = Walk(service, tick, ask, Random(seed))
    for _ in range(times):
        walked.next()
    return walked


def check_nothing_is_left(walked: Walk, side: Side) -> None:
    """After the last rollout only what stable needs is there."""
    for _ in range(20):
        now = walked.tick(5)
    assert now.trouble == ""
    assert side.targets() == {"spare"} | ({now.stable.label} if now.stable else set())
    check_history(side)


def run(service: Service, tick: Any, ask: Any, side: Side, seed: int, times: int) -> Walk:
    walked = walk(service, tick, ask, seed, times)
    injected = Counter(call["outcome"] for call in side.fake.calls() if call["injected"])
    side.fake.clear()
    check_nothing_is_left(walked, side)
    assert set(injected) == set(FAULTS), f"not every fault happened: {injected}"
    return walked


@pytest.mark.timeout(300)
def test_fifty_rollouts_under_random_faults_end_right(
    service: Service, tick: Any, ask: Any, side: Side, faults: Any
) -> None:
    """A hundred, as there are two routers."""
    faults(2026)
    walked = run(service, tick, ask, side, seed=11, times=50)
    assert walked.ends["succeeded"] > 10
    assert walked.ends["asked"] > 5


@pytest.fixture
def on_ecs(
    kind: str, db: None, world: Any, to_fake: Fake, client: Any, quick: None
) -> Iterator[Service]:
    """The service with its tasks on the fake AWS too."""
    new_process()
    made = ecs_lay.lay(client, router=kind)
    lay.LAY[kind](client, made.mesh)
    # Every version starts: how one ends that does not is told in tests/aws/ecs.
    made.versions.filter(label="1.1").update(image=made.versions.get(label="1.0").image)
    to_fake.calls_reset()
    yield made
    new_process()


def ticks_of(service: Service, clock: Any) -> Any:
    def tick(seconds: float = 0.0) -> Service:
        with fakeaws.LOCK:
            fakeaws.skip(20 * seconds)  # tasks start and stop, and are forgotten in the end
        reconcile.tick(service.pk, clock.pass_(seconds))
        return Service.objects.select_related("mesh", "stable").get(pk=service.pk)

    return tick


def run_on_ecs(on_ecs: Service, clock: Any, ask: Any, side: Side, seed: int, times: int) -> Walk:
    walked = run(on_ecs, ticks_of(on_ecs, clock), ask, side, seed, times)
    service = Service.objects.select_related("stable").get(pk=on_ecs.pk)
    sets = side.client("ecs").describe_services(cluster="echo", services=["echo_server"])
    there = {each["externalId"] for each in sets["services"][0]["taskSets"]}
    assert there == ({service.stable.target} if service.stable else set())
    left = side.fake.leftovers()
    families = {name.partition(":")[0] for name in left.get("task-definition", [])}
    assert len([family for family in families if "--" in family]) <= 1, families
    return walked


@pytest.mark.timeout(300)
def test_rollouts_with_tasks_on_ecs_under_random_faults_end_right(
    on_ecs: Service, clock: Any, ask: Any, kind: str, client: Any, faults: Any, to_fake: Fake
) -> None:
    faults(7, share=0.5)
    side = SIDES[kind](client, to_fake, on_ecs)
    walked = run_on_ecs(on_ecs, clock, ask, side, seed=5, times=10)
    assert walked.ends["succeeded"] > 1


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_hundred_rollouts_with_tasks_on_ecs_under_random_faults_end_right(
    on_ecs: Service, clock: Any, ask: Any, kind: str, client: Any, faults: Any, to_fake: Fake
) -> None:
    faults(8, share=0.5)
    side = SIDES[kind](client, to_fake, on_ecs)
    run_on_ecs(on_ecs, clock, ask, side, seed=6, times=100)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(2))
def test_hundreds_of_rollouts_under_random_faults_end_right(
    service: Service, tick: Any, ask: Any, side: Side, faults: Any, seed: int
) -> None:
    faults(100 * seed)
    run(service, tick, ask, side, seed=seed, times=100)
