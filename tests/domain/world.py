"""A small world for walks: a platform and proxies that take time, and the loop of ``reconcile``.

Shipped instead of mocks: it only obeys decisions and lets seconds pass. ``Walk`` has the verbs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby

from rollouts.domain.decide import decide, place
from rollouts.domain.plan import Plan, parse
from rollouts.domain.state import (
    FINISHED,
    Confirmed,
    Decision,
    Phase,
    RolloutState,
    Said,
    Seen,
    ServiceState,
    TaskSeen,
    Verdict,
    VersionId,
    VersionState,
)

MAX_DECISIONS = 12


@dataclass
class Machine:
    """One task. ``age`` seconds since it was started last; dead ones stay dead until started."""

    age: float = 0.0
    dead: bool = False
    exits: int = 0


@dataclass
class World:
    """``confirm_after`` seconds until every proxy confirms a generation; None: never."""

    healthy_after: float = 2.0
    confirm_after: float | None = 0.5
    lagging: tuple[str, ...] = ()
    reachable: bool = True
    machines: dict[VersionId, dict[int, Machine]] = field(default_factory=dict)
    broken: set[VersionId] = field(default_factory=set)  # runs, never healthy
    crashing: set[VersionId] = field(default_factory=set)  # dies once a second
    generation: int = 0
    confirmed: int = 0
    since: float = 0.0
    last: Mapping[VersionId, tuple[TaskSeen, ...]] = field(default_factory=dict)

    def apply(self, state: ServiceState) -> None:
        if state.generation != self.generation:
            assert state.generation > self.generation, "generations only grow"
            self.generation, self.since = state.generation, 0.0
        if self.reachable:
            for pk, version in state.versions.items():
                have = self.machines.get(pk, {})
                self.machines[pk] = {n: have.get(n) or Machine() for n in range(version.count)}

    def wait(self, seconds: float) -> None:
        self.since += seconds
        if self.confirm_after is not None and self.since >= self.confirm_after:
            self.confirmed = self.generation
        for pk, machines in self.machines.items():
            for machine in machines.values():
                machine.age += seconds
                if pk in self.crashing and seconds:
                    machine.exits, machine.age = machine.exits + 1, 0.0

    def observe(self) -> Seen:
        if self.reachable:
            self.last = {
                pk: tuple(self._seen(pk, n, machine) for n, machine in machines.items())
                for pk, machines in self.machines.items()
            }
        sure = self.confirmed == self.generation
        return Seen(
            self.last,
            Confirmed(
                self.generation,
                Verdict.YES if sure else Verdict.NO,
                () if sure else self.lagging,
            ),
            fresh=self.reachable,
        )

    def _seen(self, pk: VersionId, index: int, machine: Machine) -> TaskSeen:
        if machine.dead:
            return TaskSeen(index, "exited", False, machine.exits, "It was ended by signal 9.")
        well = machine.age >= self.healthy_after and not {pk} & (self.broken | self.crashing)
        return TaskSeen(index, "running", well, machine.exits, "" if well else "Not serving yet.")


@dataclass(frozen=True)
class Moment:
    """One decision, with what it was made from."""

    before: ServiceState
    seen: Seen
    decision: Decision


class Walk:
    """A service with version 0.9 stable (unless ``stable=False``) and a world that obeys it."""

    def __init__(self, *, tasks: int = 2, stable: bool = True, **settings: object) -> None:
        self.world = World()
        self.now = 0.0
        self.moments: list[Moment] = []
        self.weights: list[dict[str, int]] = []
        self.said: list[Said] = []
        self.last: RolloutState | None = None
        self.waiting = ""
        self.state = ServiceState(tasks, None, {}, 0, {}, **settings)  # type: ignore[arg-type]
        if stable:
            pk = self.build("0.9")
            version = replace(self.state.versions[pk], count=tasks, keep=tasks)
            self._set(stable=pk, weights={pk: 100}, generation=1, versions={pk: version})
            self.world.apply(self.state)
            self.world.wait(60)
            self._note()

    # what a person does

    def build(self, label: str) -> VersionId:
        number = len(self.state.versions) + 1
        self._set(versions={**self.state.versions, number: VersionState(label, number)})
        return number

    def deploy(self, label: str, plan: str | Plan = "50:5s, 100", deadline: float = 600.0) -> None:
        known = {version.label for version in self.state.versions.values()}
        to = self.pk(label) if label in known else self.build(label)
        steps = parse(plan) if isinstance(plan, str) else plan
        self._set(rollout=RolloutState(to, self.state.stable, steps, deadline_left=deadline))

    def wish(self, **changes: object) -> None:
        """Write a wish, as an action does: only while the rollout is live."""
        if self.state.rollout is not None:
            self._set(rollout=replace(self.state.rollout, **changes))  # type: ignore[arg-type]

    def pause(self) -> None:
        self.wish(paused=True)

    def resume(self) -> None:
        self.wish(paused=False)

    def promote(self) -> None:
        self.wish(promote_step=self.rollout.step)

    def promote_fully(self) -> None:
        self.wish(promote_full=True)

    def roll_back(self, reason: str = "") -> None:
        self.wish(rollback=True, wish_by="ada", wish_reason=reason)

    def abort(self) -> None:
        self.wish(rollback=True, keep_tasks=True, wish_by="ada")

    def destroy(self, label: str) -> None:
        pk = self.pk(label)
        changed = replace(self.state.versions[pk], destroy=True)
        self._set(versions={**self.state.versions, pk: changed})

    def scale(self, tasks: int) -> None:
        self._set(tasks=tasks)

    # what happens in the world

    def kill(self, label: str, tasks: int | None = None) -> None:
        """End tasks for good (all, or the first few)."""
        for machine in list(self.world.machines[self.pk(label)].values())[:tasks]:
            machine.dead, machine.exits = True, machine.exits + 1

    def revive(self, label: str, tasks: int | None = None) -> None:
        for machine in list(self.world.machines[self.pk(label)].values())[:tasks]:
            machine.dead, machine.age = False, 60.0

    def tick(self, seconds: float = 1.0) -> None:
        """Let seconds pass, then decide until nothing moves any more, as a tick does."""
        self.now += seconds
        self.world.wait(seconds)
        for _ in range(MAX_DECISIONS):
            before = place(self.state)
            self._decide(seconds)
            seconds = 0.0
            if place(self.state) == before:
                return
        raise AssertionError(f"{MAX_DECISIONS} decisions did not come to an end")

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.tick()

    def until(self, phase: Phase, within: int = 700) -> None:
        self.until_true(lambda: self.phase is phase, within)

    def until_true(self, question, within: int = 700) -> None:
        for _ in range(within):
            if question():
                return
            self.tick()
        raise AssertionError(f"still {self.phase} after {within} s: {self.waiting}")

    def until_weight(self, label: str, weight: int) -> None:
        self.until_true(lambda: self.weight(label) == weight)

    # what one can see

    def pk(self, label: str) -> VersionId:
        return next(pk for pk, v in self.state.versions.items() if v.label == label)

    def version(self, label: str) -> VersionState:
        return self.state.versions[self.pk(label)]

    def weight(self, label: str) -> int:
        return self.state.weights.get(self.pk(label), 0)

    def running(self, label: str) -> int:
        return len(self.world.machines.get(self.pk(label), {}))

    @property
    def rollout(self) -> RolloutState:
        """The live rollout, or the last one."""
        rollout = self.state.rollout or self.last
        assert rollout is not None
        return rollout

    @property
    def phase(self) -> Phase:
        return self.rollout.phase

    def course(self, label: str) -> list[int]:
        """The weights that the version had, one after the other."""
        course = [weights[label] for weights in self.weights if label in weights]
        return [weight for weight, _ in groupby(course)]

    def sentences(self) -> str:
        return "\n".join(f"{said.text} {said.reason}" for said in self.said)

    def _decide(self, elapsed_s: float) -> None:
        before, seen = self.state, self.world.observe()
        decision = decide(before, seen, elapsed_s)
        self.moments.append(Moment(before, seen, decision))
        self.said += decision.said
        self.waiting = decision.waiting
        self.state = stored(before, decision)
        self.world.apply(self.state)
        self._note()
        rollout = self.state.rollout
        if rollout is not None and rollout.phase in FINISHED:
            self.last = rollout
            self._set(rollout=None)

    def _note(self) -> None:
        weights = {self.state.label(pk): weight for pk, weight in self.state.weights.items()}
        if not self.weights or self.weights[-1] != weights:
            self.weights.append(weights)

    def _set(self, **changes: object) -> None:
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]


def stored(before: ServiceState, decision: Decision) -> ServiceState:
    """The state as the database keeps it: new weights are a new generation."""
    changed = dict(decision.state.weights) != dict(before.weights)
    return replace(decision.state, generation=before.generation + changed)
