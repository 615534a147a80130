"""What no state, observation or order of events may break."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from rollouts.domain.decide import decide
from rollouts.domain.draft import able, confirmed
from rollouts.domain.plan import Step
from rollouts.domain.state import (
    FINISHED,
    FORWARD,
    Confirmed,
    Decision,
    Phase,
    RolloutState,
    Seen,
    ServiceState,
    Stage,
    TaskSeen,
    Verdict,
    VersionId,
    VersionState,
)
from tests.domain.world import MAX_DECISIONS, Walk, stored

MANY = settings(max_examples=200)
SECONDS = st.sampled_from([0.0, 0.5, 1.0, 30.0, 1e6])
NEXT = {
    Phase.PENDING: {Phase.PROVISIONING},
    Phase.PROVISIONING: {Phase.STARTING},
    Phase.STARTING: {Phase.PROGRESSING, Phase.PROMOTING},
    Phase.PROGRESSING: {Phase.PROMOTING},
    Phase.PROMOTING: {Phase.SUCCEEDED},
    Phase.ROLLING_BACK: {Phase.ROLLED_BACK, Phase.FAILED},
}

steps = st.builds(Step, st.integers(0, 100), hold_s=st.sampled_from([0, 1, 60])) | st.builds(
    Step,
    st.integers(0, 100),
    approval=st.just(True),
    timeout_s=st.sampled_from([None, 1, 60]),
    on_timeout=st.sampled_from(["rollback", "promote", "wait"]),
)
plans = st.lists(steps, min_size=1, max_size=3).map(tuple)
task_lists = st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=4).map(
    lambda tasks: tuple(
        TaskSeen(n, "running", healthy, exits) for n, (healthy, exits) in enumerate(tasks)
    )
)


@st.composite
def version_states(draw, number: int) -> VersionState:
    count = draw(st.integers(0, 4))
    return VersionState(
        f"{number}.0",
        number,
        count=count,
        keep=draw(st.integers(0, count)),
        retire_left=draw(st.none() | SECONDS),
        drain_left=draw(st.none() | SECONDS),
        destroy=draw(st.booleans()),
    )


@st.composite
def routes(draw, pks: list[VersionId]) -> dict[VersionId, int]:
    """Nothing, or 100 shared out over up to three versions."""
    chosen = draw(st.lists(st.sampled_from(pks), unique=True, max_size=3))
    if not chosen:
        return {}
    cuts = sorted(draw(st.integers(0, 100)) for _ in chosen[1:])
    edges = [0, *cuts, 100]
    return {pk: edges[n + 1] - edges[n] for n, pk in enumerate(chosen)}


@st.composite
def rollouts(draw, pks: list[VersionId], stable: VersionId | None) -> RolloutState:
    plan = draw(plans)
    return RolloutState(
        to=draw(st.sampled_from([pk for pk in pks if pk != stable])),
        came_from=stable,
        plan=plan,
        phase=draw(st.sampled_from(Phase)),
        step=draw(st.integers(0, len(plan) - 1)),
        stage=draw(st.sampled_from(Stage)),
        left=draw(st.none() | SECONDS),
        deadline_left=draw(st.sampled_from([-1.0, 0.0, 10.0, 600.0])),
        exits_base=draw(st.none() | st.integers(0, 3)),
        paused=draw(st.booleans()),
        promote_step=draw(st.none() | st.integers(0, 3)),
        promote_full=draw(st.booleans()),
        rollback=draw(st.booleans()),
        keep_tasks=draw(st.booleans()),
    )


@st.composite
def states(draw) -> ServiceState:
    pks = list(range(1, draw(st.integers(2, 4)) + 1))
    stable = draw(st.none() | st.sampled_from(pks))
    return ServiceState(
        tasks=draw(st.integers(1, 4)),
        stable=stable,
        weights=draw(routes(pks)),
        generation=draw(st.integers(0, 2)),
        versions={pk: draw(version_states(pk)) for pk in pks},
        rollout=draw(st.none() | rollouts(pks, stable)),
        drain_s=draw(st.sampled_from([0.0, 2.0])),
        scale_down_s=draw(st.sampled_from([0.0, 600.0])),
        abort_delay_s=draw(st.sampled_from([0.0, 30.0])),
        keep_warm=draw(st.integers(0, 2)),
    )


observations = st.builds(
    Seen,
    st.dictionaries(st.integers(1, 4), task_lists),
    st.builds(Confirmed, st.integers(0, 2), st.sampled_from(Verdict)),
    st.booleans(),
)


def check_weights(state: ServiceState) -> None:
    weights = list(state.weights.values())
    assert all(type(weight) is int and 0 <= weight <= 100 for weight in weights)
    assert not weights or sum(weights) == 100


def check_requests(before: ServiceState, seen: Seen, after: ServiceState) -> None:
    route = {*before.weights, *after.weights}
    if any(able(before, seen, pk) for pk in route):
        assert all(able(after, seen, pk) for pk, weight in after.weights.items() if weight)


def check_tasks(before: ServiceState, seen: Seen, after: ServiceState) -> None:
    settled = dict(before.weights) == dict(after.weights) and confirmed(before, seen)
    for pk, old in before.versions.items():
        new = after.versions[pk]
        if not settled:
            assert new.count >= old.count
            assert new.keep >= old.keep
        elif before.weights.get(pk):
            assert new.count >= min(1, old.count)
            assert new.keep >= min(1, old.keep)
        assert 0 <= new.keep <= new.count


def check_course(before: RolloutState | None, after: RolloutState | None) -> None:
    if before is None or after is None:
        return
    assert after.step >= before.step
    if before.phase in FINISHED:
        assert after == before
    elif after.phase is not before.phase:
        undone = {Phase.ROLLING_BACK} if before.phase in FORWARD else set()
        assert after.phase in NEXT[before.phase] | undone


def check_rollback(before: ServiceState, seen: Seen, after: ServiceState) -> None:
    rollout = before.rollout
    if rollout is None or rollout.phase in FINISHED:
        return
    asked = rollout.rollback or rollout.phase is Phase.ROLLING_BACK
    if asked and (rollout.came_from is None or able(before, seen, rollout.came_from)):
        assert after.weights.get(rollout.to, 0) <= before.weights.get(rollout.to, 0)


def check_all(before: ServiceState, seen: Seen, decision: Decision) -> None:
    after = decision.state
    check_weights(after)
    check_requests(before, seen, after)
    check_tasks(before, seen, after)
    check_course(before.rollout, after.rollout)
    check_rollback(before, seen, after)
    assert after.generation == before.generation


@MANY
@given(states(), observations, SECONDS)
def test_weights_are_nothing_or_whole_percents_that_sum_to_100(state, seen, elapsed):
    check_weights(decide(state, seen, elapsed).state)


@MANY
@given(states(), observations, SECONDS)
def test_requests_go_only_to_versions_with_a_healthy_task(state, seen, elapsed):
    check_requests(state, seen, decide(state, seen, elapsed).state)


@MANY
@given(states(), observations, SECONDS)
def test_a_version_that_may_still_receive_requests_keeps_running(state, seen, elapsed):
    check_tasks(state, seen, decide(state, seen, elapsed).state)


@MANY
@given(states(), observations, SECONDS)
def test_only_listed_moves_happen_and_steps_never_go_back(state, seen, elapsed):
    check_course(state.rollout, decide(state, seen, elapsed).state.rollout)


@MANY
@given(states(), observations, SECONDS)
def test_once_a_rollback_is_asked_for_the_new_version_never_gets_more(state, seen, elapsed):
    for _ in range(4):
        decision = decide(state, seen, elapsed)
        check_rollback(state, seen, decision.state)
        state = stored(state, decision)


@pytest.mark.parametrize("quick", [False, True], ids=["proxies as seen", "proxies confirm at once"])
@MANY
@given(state=states(), seen=observations, elapsed=SECONDS)
def test_deciding_again_soon_changes_nothing_more(quick, state, seen, elapsed):
    """``quick`` proxies confirm whatever is stored, the worst case for a chain."""
    for _ in range(MAX_DECISIONS):
        if quick:
            seen = replace(seen, confirmed=Confirmed(state.generation, Verdict.YES))
        decision = decide(state, seen, elapsed)
        elapsed = 0.0
        if stored(state, decision) == state and not decision.said:
            return
        state = stored(state, decision)
    raise AssertionError("it goes on and on")


@MANY
@given(states(), observations)
def test_a_clock_that_goes_backwards_counts_as_no_time(state, seen):
    assert decide(state, seen, -3600.0) == decide(state, seen, 0.0)


@MANY
@given(states(), observations, SECONDS)
def test_what_an_unreachable_platform_shows_never_moves_a_rollout_forward(state, seen, elapsed):
    seen = replace(seen, fresh=False)
    before, after = state.rollout, decide(state, seen, elapsed).state.rollout
    if before is not None and after is not None and before.phase in FORWARD:
        assert after.phase in (before.phase, Phase.ROLLING_BACK)
        assert after.step == before.step


class Life(RuleBasedStateMachine):
    """A service whose people and machines do anything in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.walk = Walk()
        self.checked = 0

    @initialize(stable=st.booleans(), tasks=st.integers(1, 3), drain=st.sampled_from([0.0, 2.0]))
    def begin(self, stable, tasks, drain):
        self.walk = Walk(stable=stable, tasks=tasks, drain_s=drain, scale_down_s=20.0)

    @precondition(lambda self: self.walk.state.rollout is None)
    @rule(label=st.sampled_from(["0.9", "1.0", "1.1"]), plan=plans)
    def deploy(self, label, plan):
        if self.walk.state.label(self.walk.state.stable) != label:
            self.walk.deploy(label, plan, deadline=30)

    @precondition(lambda self: self.walk.state.rollout is not None)
    @rule(wish=st.sampled_from(["pause", "resume", "promote", "promote_fully"]))
    def wish(self, wish):
        getattr(self.walk, wish)()

    @precondition(lambda self: self.walk.state.rollout is not None)
    @rule(keep=st.booleans())
    def roll_back(self, keep):
        self.walk.wish(rollback=True, keep_tasks=keep, wish_by="ada")

    @precondition(lambda self: self.walk.state.versions)
    @rule(which=st.integers(0, 2), deed=st.sampled_from(["kill", "revive", "destroy"]))
    def happen(self, which, deed):
        versions = list(self.walk.state.versions.values())
        label = versions[which % len(versions)].label
        if deed == "destroy" or self.walk.world.machines.get(self.walk.pk(label)):
            getattr(self.walk, deed)(label)

    @precondition(lambda self: self.walk.state.stable is not None)
    @rule(which=st.integers(0, 2))
    def kill_one(self, which):
        running = [pk for pk, machines in self.walk.world.machines.items() if machines]
        if running:
            self.walk.kill(self.walk.state.label(running[which % len(running)]), tasks=1)

    @rule(tasks=st.integers(1, 3))
    def scale(self, tasks):
        self.walk.scale(tasks)

    @rule(after=st.sampled_from([None, 0.0, 0.5, 5.0]))
    def change_proxies(self, after):
        self.walk.world.confirm_after = after

    @rule(reachable=st.booleans())
    def change_platform(self, reachable):
        self.walk.world.reachable = reachable

    @rule(seconds=st.sampled_from([0.0, 1.0, 3.0, 25.0, 100.0]))
    def tick(self, seconds):
        self.walk.tick(seconds)

    @rule()
    def live_on(self):
        self.walk.run(4)

    @invariant()
    def every_decision_keeps_the_promises(self):
        for moment in self.walk.moments[self.checked :]:
            check_all(moment.before, moment.seen, moment.decision)
        self.checked = len(self.walk.moments)

    def teardown(self):
        """After everything is healed a rollout ends, and one version serves."""
        walk = self.walk
        walk.world.reachable, walk.world.confirm_after = True, 0.5
        for pk in walk.world.machines:
            walk.revive(walk.state.label(pk))
        walk.resume()
        walk.promote_fully()
        walk.run(80)
        assert walk.state.rollout is None, walk.waiting
        self.every_decision_keeps_the_promises()
        assert walk.state.alarm == ""
        if walk.state.stable is not None:
            assert walk.state.weights[walk.state.stable] == 100
            assert walk.running(walk.state.label(walk.state.stable)) == walk.state.tasks
        assert_nobody_is_forgotten(walk)


def assert_nobody_is_forgotten(walk: Walk) -> None:
    """Every version that runs is stable, warm, or kept because a person aborted."""
    for pk, version in walk.state.versions.items():
        if pk != walk.state.stable and version.count:
            assert version.keep == version.count
            assert version.drain_left is None


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=200, stateful_step_count=30)
