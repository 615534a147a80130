"""``decide``: from the state of a service and what was seen to what the world should be. Pure.

Called by ``reconcile`` at every tick. One rule per phase; a decision says what should be, never
what to do next, so deciding twice changes nothing more. The rules propose; ``guard`` keeps the two
promises that no rule may break.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rollouts.domain.draft import Draft
from rollouts.domain.guard import guard_requests, guard_tasks
from rollouts.domain.plan import Step
from rollouts.domain.scale import scale
from rollouts.domain.state import (
    FINISHED,
    FORWARD,
    Decision,
    Phase,
    Seen,
    ServiceState,
    Stage,
    VersionId,
)

UNSEEN = "The platform does not answer: tasks cannot be seen, so nothing moves."


def decide(state: ServiceState, seen: Seen, elapsed_s: float) -> Decision:
    """Decide what follows ``elapsed_s`` seconds (monotonic, ≥ 0) after the last decision."""
    draft = Draft(state, seen, max(0.0, elapsed_s), state)
    if state.rollout is not None and state.rollout.phase not in FINISHED:
        _advance(draft)
    else:
        _rest(draft)
    draft.state = guard_requests(state, draft.state, seen)
    scale(draft)
    decided = guard_tasks(state, draft.state, seen)
    if decided.alarm and decided.alarm != state.alarm:
        draft.say("alarm", decided.alarm, severity="error")
    return Decision(decided, tuple(draft.said), decided.alarm or draft.waiting or seen.trouble)


def _rest(draft: Draft) -> None:
    """Without a live rollout everything belongs to stable, also after it was dead for a while."""
    state, stable = draft.state, draft.state.stable
    if stable is None or state.weights.get(stable) == 100:
        return
    if not draft.seen.fresh:
        draft.waiting = UNSEEN
    elif draft.able(stable) and draft.ready(stable) < state.tasks:
        # Half alive it may die again at once: wait, rather than swing there and back.
        draft.waiting = f"Waits until every task of {draft.label(stable)} is healthy again."
    else:
        draft.set(weights={**dict.fromkeys(state.weights, 0), stable: 100})
        if draft.able(stable):
            draft.say("step", f"Sending every request to {draft.label(stable)} again.")


def _advance(draft: Draft) -> None:
    _elapse(draft)
    rollout = draft.rollout
    if rollout.rollback and rollout.phase in FORWARD:
        _undo(draft, f"{rollout.wish_by} asked for it.", rollout.wish_reason)
    elif rollout.phase in FORWARD and not draft.seen.fresh:
        draft.waiting = UNSEEN
    else:
        # Said at every tick, not only on the way in: what a dead version or an outsider moved away
        # comes back when it can.
        draft.set(weights=_weights(draft, _share(draft)))
        RULES[rollout.phase](draft)


def _share(draft: Draft) -> int:
    """Percent that the new version has where the rollout is now."""
    rollout = draft.rollout
    if rollout.phase is Phase.PROGRESSING:
        return rollout.plan[rollout.step].weight
    return 100 if rollout.phase is Phase.PROMOTING else 0


def _elapse(draft: Draft) -> None:
    """Let the clocks of the rollout run. Paused time, holds and approvals are not start-up time."""
    rollout = draft.rollout
    if rollout.paused:
        return
    if rollout.phase in (Phase.PROVISIONING, Phase.STARTING):
        draft.go(deadline_left=rollout.deadline_left - draft.elapsed_s)
    elif rollout.phase is Phase.PROGRESSING and rollout.left is not None:
        draft.go(left=max(0.0, rollout.left - draft.elapsed_s))


def _pending(draft: Draft) -> None:
    # ``scale`` starts the tasks, or stops their draining: the version is part of a live rollout.
    draft.version(draft.rollout.to, destroy=False)
    draft.go(phase=Phase.PROVISIONING)
    draft.say("provision", f"Provisioning {_new(draft)} with no traffic.")


def _provisioning(draft: Draft) -> None:
    rollout = draft.rollout
    if draft.seen.refused:
        _undo(draft, f"{_new(draft)} cannot be started: {draft.seen.trouble}")
    elif draft.seen.tasks.get(rollout.to):
        draft.go(phase=Phase.STARTING, exits_base=draft.seen.exits(rollout.to))
        draft.say("start", f"Starting {_count(draft.state.tasks, 'task')} of {_new(draft)}.")
    elif rollout.deadline_left <= 0:
        _too_late(draft)
    else:
        draft.waiting = draft.seen.trouble


def _starting(draft: Draft) -> None:
    rollout, tasks = draft.rollout, draft.state.tasks
    if draft.seen.refused:
        _undo(draft, f"{_new(draft)} cannot be started: {draft.seen.trouble}")
    elif _deaths(draft) >= draft.state.deaths_allowed:
        _undo(draft, f"{_new(draft)} does not start: {_why(draft)}")
    elif draft.ready(rollout.to) < tasks:
        draft.waiting = draft.seen.trouble
        if rollout.deadline_left <= 0:
            _too_late(draft)
    elif not rollout.paused:
        draft.go(phase=Phase.PROGRESSING, exits_base=draft.seen.exits(rollout.to))
        draft.say("healthy", f"All {_count(tasks, 'task')} of {_new(draft)} are healthy.")
        if rollout.promote_full or rollout.came_from is None:
            _promote(draft)
        else:
            _enter(draft, 0)


def _progressing(draft: Draft) -> None:
    rollout = draft.rollout
    if _fell(draft) or rollout.paused:
        return
    if rollout.promote_full:
        _promote(draft)
    elif rollout.stage is Stage.SHIFT:
        _shift(draft)
    elif rollout.promote_step == rollout.step:
        _next(draft)
    elif rollout.left == 0:
        _time_is_up(draft)


def _shift(draft: Draft) -> None:
    """A weight is done when every proxy has confirmed it; then the hold or the wait begins."""
    rollout = draft.rollout
    step = rollout.plan[rollout.step]
    if not draft.in_force:
        draft.waiting = _lagging(draft)
        return
    draft.say("step", f"{_step_name(draft)}: {step.weight} % to {_new(draft)}, confirmed.")
    if step.approval:
        draft.go(stage=Stage.APPROVAL, left=_float(step.timeout_s))
        draft.say("approval", f"Waits for approval at {step.weight} %.", severity="warn")
    elif step.hold_s:
        draft.go(stage=Stage.HOLD, left=float(step.hold_s))
    else:
        _next(draft)


def _time_is_up(draft: Draft) -> None:
    step = draft.rollout.plan[draft.rollout.step]
    asked = draft.rollout.stage is Stage.APPROVAL
    if asked and step.on_timeout == "rollback":
        _undo(draft, f"Nobody approved {step.weight} % within {step.timeout_s} s.")
    elif asked and step.on_timeout == "wait":
        draft.go(left=None)
        draft.say("approval", "The time for approval is over; it goes on waiting.", severity="warn")
    elif draft.in_force:
        _next(draft)
    else:
        draft.waiting = _lagging(draft)


def _next(draft: Draft) -> None:
    rollout = draft.rollout
    if rollout.step + 1 == len(rollout.plan):
        _promote(draft)
    elif _room(draft, rollout.plan[rollout.step + 1].weight):
        _enter(draft, rollout.step + 1)


def _enter(draft: Draft, number: int) -> None:
    step: Step = draft.rollout.plan[number]
    draft.go(step=number, stage=Stage.SHIFT, left=None)
    draft.set(weights=_weights(draft, step.weight))
    draft.say("step", f"{_step_name(draft)}: sending {step.weight} % to {_new(draft)}.")


def _promote(draft: Draft) -> None:
    if not _room(draft, 100):
        return
    if draft.state.weights.get(draft.rollout.to) != 100:
        draft.say("step", f"Sending 100 % to {_new(draft)}.")
    draft.go(phase=Phase.PROMOTING, left=None)
    draft.set(weights=_weights(draft, 100))


def _promoting(draft: Draft) -> None:
    rollout = draft.rollout
    if _fell(draft) or rollout.paused:
        return
    if not draft.in_force:
        draft.waiting = _lagging(draft)
        return
    if rollout.came_from is not None:
        draft.version(rollout.came_from, retire_left=draft.state.scale_down_s)
    draft.set(stable=rollout.to)
    draft.go(phase=Phase.SUCCEEDED)
    draft.say("promoted", f"{_new(draft)} serves 100 % and is stable now.")


def _rolling_back(draft: Draft) -> None:
    rollout = draft.rollout
    if not draft.in_force:
        draft.waiting = _lagging(draft)
        return
    draft.version(rollout.to, retire_left=None if rollout.keep_tasks else draft.state.abort_delay_s)
    if rollout.came_from is None:
        draft.go(phase=Phase.FAILED)
        draft.say("failed", f"{_new(draft)} takes no traffic.", rollout.reason, "error")
    else:
        draft.go(phase=Phase.ROLLED_BACK)
        old = draft.label(rollout.came_from)
        draft.say("rolled-back", f"{old} serves 100 %, confirmed.", rollout.reason, "warn")


def _undo(draft: Draft, why: str, note: str = "") -> None:
    """Send everything back to stable, and stop deploys that nobody watches."""
    rollout = draft.rollout
    draft.go(phase=Phase.ROLLING_BACK, reason=f"{why} {note}".strip(), left=None, paused=False)
    draft.set(weights=_home(draft), automatic=False)
    where = "with no traffic" if rollout.came_from is None else draft.label(rollout.came_from)
    draft.say("rollback", f"Rolling back to {where}.", draft.rollout.reason, "error")


def _fell(draft: Draft) -> bool:
    """Roll back when the new version cannot take requests any more."""
    if not draft.able(draft.rollout.to):
        _undo(draft, f"No task of {_new(draft)} is healthy: {_why(draft)}")
    elif _deaths(draft) >= draft.state.tasks:
        _undo(draft, f"{_count(_deaths(draft), 'task')} of {_new(draft)} died: {_why(draft)}")
    else:
        return False
    return True


def _too_late(draft: Draft) -> None:
    healthy = draft.ready(draft.rollout.to)
    _undo(
        draft,
        f"{_new(draft)} was not healthy in time: {healthy} of {draft.state.tasks} tasks are. "
        f"{_why(draft)}",
    )


def _room(draft: Draft, weight: int) -> bool:
    """May the share of the new version rise to ``weight``? Only when all its tasks are healthy."""
    rollout = draft.rollout
    healthy = draft.ready(rollout.to)
    if weight <= draft.state.weights.get(rollout.to, 0) or healthy >= draft.state.tasks:
        return True
    draft.waiting = (
        f"The next step waits: {healthy} of {draft.state.tasks} tasks of {_new(draft)} are healthy."
    )
    return False


def _weights(draft: Draft, weight: int) -> Mapping[VersionId, int]:
    rollout = draft.rollout
    if rollout.came_from is None:
        return {rollout.to: 100} if weight else {}
    return {rollout.came_from: 100 - weight, rollout.to: weight}


def _home(draft: Draft) -> Mapping[VersionId, int]:
    return _weights(draft, 0)


def _deaths(draft: Draft) -> int:
    return max(0, draft.seen.exits(draft.rollout.to) - (draft.rollout.exits_base or 0))


def _why(draft: Draft) -> str:
    return draft.seen.reason(draft.rollout.to) or "its health check does not pass."


def _lagging(draft: Draft) -> str:
    lagging = " ".join(draft.seen.confirmed.lagging)
    return draft.seen.trouble or lagging or "Waiting for the proxies to confirm."


def _new(draft: Draft) -> str:
    return draft.label(draft.rollout.to)


def _step_name(draft: Draft) -> str:
    return f"Step {draft.rollout.step + 1} of {len(draft.rollout.plan)}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _float(seconds: int | None) -> float | None:
    return None if seconds is None else float(seconds)


RULES: Mapping[Phase, Callable[[Draft], None]] = {
    Phase.PENDING: _pending,
    Phase.PROVISIONING: _provisioning,
    Phase.STARTING: _starting,
    Phase.PROGRESSING: _progressing,
    Phase.PROMOTING: _promoting,
    Phase.ROLLING_BACK: _rolling_back,
}


def place(state: ServiceState) -> tuple[object, ...]:
    """Where the rollout is; when it differs after a decision, the next can be made at once."""
    rollout = state.rollout
    if rollout is None:
        return ()
    return (rollout.phase, rollout.step, rollout.stage)
