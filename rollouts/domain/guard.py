"""The clamp on every decision. Pure. It keeps two promises that no rule may break:

1. requests go only to a version with a healthy task (``guard_requests``, before ``scale``, which
   must know who really serves);
2. a version that may still receive requests (wanted, confirmed or unconfirmed) keeps running
   (``guard_tasks``, last).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rollouts.domain.draft import able, confirmed
from rollouts.domain.state import Seen, ServiceState, VersionId, VersionState


def guard_requests(before: ServiceState, wanted: ServiceState, seen: Seen) -> ServiceState:
    """The nearest weights to the wanted ones that keep promise 1; ``alarm``: what it prevented."""
    weights, alarm = _weights(before, wanted, seen)
    return replace(wanted, weights=weights, alarm=alarm)


def guard_tasks(before: ServiceState, wanted: ServiceState, seen: Seen) -> ServiceState:
    """The nearest numbers of tasks to the wanted ones that keep promise 2."""
    weights = wanted.weights
    settled = dict(weights) == dict(before.weights) and confirmed(before, seen)
    versions = {
        pk: _tasks(
            before.versions[pk], state, settled=settled, serving=_serves(pk, before, weights)
        )
        for pk, state in wanted.versions.items()
    }
    return replace(wanted, versions=versions)


def _weights(
    before: ServiceState, wanted: ServiceState, seen: Seen
) -> tuple[Mapping[VersionId, int], str]:
    dead = [pk for pk, weight in wanted.weights.items() if weight and not able(wanted, seen, pk)]
    if not dead:
        return wanted.weights, ""
    names = " and ".join(wanted.label(pk) for pk in dead)
    known = {**before.weights, **wanted.weights}
    alive = [pk for pk in known if able(wanted, seen, pk)]
    if not alive:
        # Nobody can take requests: stay, rather than swing between two dead versions. When the
        # platform does not answer, nobody knows that they are dead: a rollback must go through.
        stay = before.weights if seen.fresh else wanted.weights
        return stay, f"No version has a healthy task ({names})."
    refuge = max(alive, key=lambda pk: (known[pk], pk))
    return (
        {pk: 100 if pk == refuge else 0 for pk in sorted(known)},
        f"{names} has no healthy task: every request goes to {wanted.label(refuge)}.",
    )


def _serves(pk: VersionId, before: ServiceState, weights: Mapping[VersionId, int]) -> bool:
    return bool(before.weights.get(pk) or weights.get(pk))


def _tasks(
    before: VersionState, wanted: VersionState, *, settled: bool, serving: bool
) -> VersionState:
    """Not before the weights are settled does any version lose a task, and never its last one."""
    if not settled:
        return replace(
            wanted, count=max(before.count, wanted.count), keep=max(before.keep, wanted.keep)
        )
    if serving:
        return replace(
            wanted,
            count=max(min(1, before.count), wanted.count),
            keep=max(min(1, before.keep), wanted.keep),
        )
    return wanted
