"""How many tasks each version should have: scale, keep warm, drain, destroy. Pure.

Second half of ``decide``. A version that serves, or is part of the live rollout, has the service's
number of tasks. An idle one stays until ``retire_left`` runs out, then drains, then goes.
Reads the weights that the guard let through.
"""

from __future__ import annotations

from rollouts.domain.draft import Draft
from rollouts.domain.state import FINISHED, VersionId


def scale(draft: Draft) -> None:
    needed = _needed(draft)
    busy = needed | {version for version, weight in draft.state.weights.items() if weight}
    for version in needed:
        # One that only helps out while stable is dead keeps its time, it just does not run.
        draft.version(version, retire_left=None)
    _limit_warm(draft, busy)
    for version in list(draft.state.versions):
        if version in busy:
            _serve(draft, version)
        else:
            _retire(draft, version)


def _needed(draft: Draft) -> set[VersionId]:
    """The stable version and both of the live rollout, whether they take requests or not yet."""
    needed = {draft.state.stable}
    rollout = draft.state.rollout
    if rollout is not None and rollout.phase not in FINISHED:
        needed |= {rollout.to, rollout.came_from}
    return {version for version in needed if version is not None}


def _limit_warm(draft: Draft, busy: set[VersionId]) -> None:
    """Keep the newest ``keep_warm`` idle versions; older ones go now, whatever their delay.

    One that was just rolled back goes soon by itself, and does not drive a good one out before.
    """
    waiting = sorted(
        (state.number, version)
        for version, state in draft.state.versions.items()
        if version not in busy and state.keep and state.retire_left is not None
        if state.retire_left > draft.state.abort_delay_s
    )
    surplus = max(0, len(waiting) - draft.state.keep_warm)
    for _, version in waiting[:surplus]:
        draft.version(version, retire_left=0.0)


def _serve(draft: Draft, version: VersionId) -> None:
    """Bring a version that serves to the service's number of tasks, draining what is too much."""
    state, tasks = draft.state.versions[version], draft.state.tasks
    if min(state.count, state.keep) < tasks:
        count = max(state.count, tasks)
        keep = max(state.keep, tasks)
        left = draft.state.drain_s if count > keep else None
        draft.version(version, count=count, keep=keep, drain_left=left)
    elif state.keep > tasks:
        # Of those that stay one must be healthy, or the last good task would be taken away.
        if draft.in_force and draft.ready(version):
            draft.version(version, keep=tasks, drain_left=draft.state.drain_s)
    elif state.count > state.keep:
        _drain(draft, version)


def _retire(draft: Draft, version: VersionId) -> None:
    state = draft.state.versions[version]
    if not state.count:
        draft.version(version, keep=0, retire_left=None, drain_left=None, destroy=False)
    elif state.keep == 0:
        _drain(draft, version)
    elif state.destroy or state.retire_left is not None:
        left = 0.0 if state.destroy else max(0.0, (state.retire_left or 0.0) - draft.elapsed_s)
        # A timer set by this very decision starts to run with the next one.
        if not state.destroy and draft.before.versions[version].retire_left is None:
            left = state.retire_left or 0.0
        draft.version(version, retire_left=left)
        if left == 0 and draft.in_force:
            draft.version(version, keep=0, drain_left=draft.state.drain_s)
            draft.say("drain", f"Draining {state.label}: it finishes what it has.")


def _drain(draft: Draft, version: VersionId) -> None:
    """Stop drained tasks once the proxies know and the grace is over."""
    state = draft.state.versions[version]
    if not draft.in_force:
        return
    left = max(0.0, (state.drain_left or 0.0) - draft.elapsed_s)
    if left > 0:
        draft.version(version, drain_left=left)
        return
    draft.version(version, count=state.keep, drain_left=None)
    if state.keep == 0:
        draft.version(version, retire_left=None, destroy=False)
        draft.say("destroy", f"Stopped the tasks of {state.label}.")
