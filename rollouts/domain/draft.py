"""A decision in the making: the state so far, what was seen, what was said. Pure.

Used by the rules in ``decide`` and ``scale``; only they write it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from rollouts.domain.state import (
    RolloutState,
    Said,
    Seen,
    ServiceState,
    Verdict,
    VersionId,
    VersionState,
)


@dataclass
class Draft:
    before: ServiceState
    seen: Seen
    elapsed_s: float
    state: ServiceState
    said: list[Said] = field(default_factory=list)
    waiting: str = ""

    @property
    def rollout(self) -> RolloutState:
        """The live rollout; rules run only when there is one."""
        if self.state.rollout is None:
            raise LookupError("no rollout is live")
        return self.state.rollout

    def set(self, **changes: Any) -> None:
        """Change columns of the service."""
        self.state = replace(self.state, **changes)

    def go(self, **changes: Any) -> None:
        """Change columns of the rollout."""
        self.set(rollout=replace(self.rollout, **changes))

    def version(self, version: VersionId, **changes: Any) -> None:
        changed: VersionState = replace(self.state.versions[version], **changes)
        self.set(versions={**self.state.versions, version: changed})

    def say(self, verb: str, text: str, reason: str = "", severity: str = "info") -> None:
        self.said.append(Said(verb, text, reason, severity))

    def label(self, version: VersionId | None) -> str:
        return self.state.label(version)

    def able(self, version: VersionId | None) -> int:
        """Tasks of the version that the route may use and that are healthy."""
        return able(self.state, self.seen, version)

    def ready(self, version: VersionId) -> int:
        """Healthy ones among the tasks that the version should have."""
        return _healthy_below(self.seen, version, self.state.tasks)

    @property
    def in_force(self) -> bool:
        """Are the present weights stored already and confirmed by every proxy?"""
        return dict(self.state.weights) == dict(self.before.weights) and confirmed(
            self.before, self.seen
        )


def able(state: ServiceState, seen: Seen, version: VersionId | None) -> int:
    """Healthy tasks of the version, without those that drain: the proxies do not use them."""
    known = state.versions.get(version or 0)
    return _healthy_below(seen, version, known.keep) if known else 0


def _healthy_below(seen: Seen, version: VersionId | None, limit: int) -> int:
    return sum(task.healthy and task.index < limit for task in seen.tasks.get(version or 0, ()))


def confirmed(state: ServiceState, seen: Seen) -> bool:
    """Has every proxy confirmed the stored generation? Unknown is not yes."""
    return seen.confirmed.verdict is Verdict.YES and seen.confirmed.generation == state.generation
