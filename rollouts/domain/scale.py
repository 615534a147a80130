"""How many tasks each version should have: scale, keep warm, drain, destroy. Pure.

Second half of ``decide``. A version that serves, or is part of the live rollout, has the service's
number of tasks. An idle one stays until ``retire_left`` runs out, then drains, then goes.
"""

from __future__ import annotations

from rollouts.domain.draft import Draft
from rollouts.domain.state import FINISHED, VersionId


def scale(draft: Draft) -> None:
    busy = _busy(draft)
    _limit_warm(draft, busy)
    for version in list(draft.state.versions):
        if version in busy:
            _serve(draft, version)
        else:
            _retire(draft, version)


def _busy(draft: Draft) -> set[VersionId]:
    """Versions that take, or may take, requests."""
    busy = {version for version, weight in draft.state.weights.items() if weight}
    rollout = draft.state.rollout
    if rollout is not None and rollout.phase not in FINISHED:
        busy |= {rollout.to} | ({rollout.came_from} if rollout.came_from is not None else set())
    if draft.state.stable is not None:
        busy.add(draft.state.stable)
    return busy


def _limit_warm(draft: Draft, busy: set[VersionId]) -> None:
    """Keep the newest ``keep_warm`` idle versions; older ones go now, whatever their delay."""
    waiting = sorted(
        (state.number, version)
        for version, state in draft.state.versions.items()
        if version not in busy and state.keep and state.retire_left is not None
    )
    surplus = max(0, len(waiting) - draft.state.keep_warm)
    for _, version in waiting[:surplus]:
        draft.version(version, retire_left=0.0)


def _serve(draft: Draft, version: VersionId) -> None:
    """Bring a version that serves to the service's number of tasks, draining what is too much."""
    state, tasks = draft.state.versions[version], draft.state.tasks
    if state.keep < tasks:
        count = max(state.count, tasks)
        left = draft.state.drain_s if count > tasks else None
        draft.version(version, count=count, keep=tasks, drain_left=left)
    elif state.keep > tasks:
        if draft.in_force:
            draft.version(version, keep=tasks, drain_left=draft.state.drain_s)
    elif state.count > state.keep:
        _drain(draft, version)
    if state.retire_left is not None:
        draft.version(version, retire_left=None)


def _retire(draft: Draft, version: VersionId) -> None:
    state = draft.state.versions[version]
    if not state.count:
        return
    if state.keep == 0:
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
        draft.version(version, retire_left=None)
        draft.say("destroy", f"Stopped the tasks of {state.label}.")
