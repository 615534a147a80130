"""The two or three words that name the state of a rollout on every page, in titles and lists.

Pure words over a Rollout row; used by the board, the services list and the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rollouts.domain.state import FORWARD, Phase, Stage
from rollouts.models import Rollout


@dataclass(frozen=True)
class Pill:
    """``kind``: queued, progress, paused, waiting, requested, rolling, stuck, rolled_back,

    succeeded, failed or idle; pages choose colour, icon and favicon by it.
    """

    kind: str
    label: str

    @property
    def tint(self) -> str:
        """ok, warn, bad, quiet or "" (in progress): the colour, never without the word."""
        return _TINTS.get(self.kind, "")

    @property
    def icon(self) -> str:
        return _ICONS.get(self.kind, "undo-2")


_TINTS = {
    "succeeded": "ok",
    "paused": "warn",
    "waiting": "warn",
    "requested": "bad",
    "rolling": "bad",
    "stuck": "bad",
    "failed": "bad",
    "rolled_back": "quiet",
    "queued": "quiet",
    "idle": "quiet",
}
_ICONS = {
    "succeeded": "circle-check",
    "paused": "circle-pause",
    "waiting": "hand",
    "failed": "circle-x",
    "stuck": "triangle-alert",
    "progress": "loader-circle",
    "queued": "clock",
    "idle": "circle",
}
IDLE = Pill("idle", "Steady")


def is_requested(rollout: Rollout) -> bool:
    """A person asked for a rollback and no tick has taken it yet."""
    return rollout.rollback_requested_at is not None and Phase(rollout.phase) in FORWARD


def pill_of(rollout: Rollout, *, weight: int, stuck: bool = False) -> Pill:
    """Name the state. ``weight`` percent the new version has; reads both versions' labels."""
    if is_requested(rollout):
        return Pill("requested", "Rollback requested")
    phase = Phase(rollout.phase)
    if phase is Phase.ROLLING_BACK:
        return Pill("stuck", "Rollback stuck") if stuck else Pill("rolling", _rolling(rollout))
    if phase in _FINISHED:
        return _FINISHED[phase](rollout)
    if rollout.paused:
        return Pill("paused", _paused(rollout, weight))
    return _moving(rollout, phase)


def _rolling(rollout: Rollout) -> str:
    old = rollout.from_version
    return f"Rolling back to {old.label}" if old else f"Stopping {rollout.to_version.label}"


def _rolled_back(rollout: Rollout) -> Pill:
    old = rollout.from_version
    return Pill("rolled_back", f"Rolled back to {old.label}" if old else "Stopped")


_FINISHED: Mapping[Phase, Callable[[Rollout], Pill]] = {
    Phase.SUCCEEDED: lambda rollout: Pill("succeeded", "Complete"),
    Phase.ROLLED_BACK: _rolled_back,
    Phase.FAILED: lambda rollout: Pill("failed", "Failed"),
}


def _paused(rollout: Rollout, weight: int) -> str:
    has_traffic = Phase(rollout.phase) in (Phase.PROGRESSING, Phase.PROMOTING)
    return f"Paused at {weight} %" if has_traffic else "Paused before the start"


def _moving(rollout: Rollout, phase: Phase) -> Pill:
    new = rollout.to_version.label
    if phase is Phase.PENDING:
        return Pill("queued", "Queued")
    if phase is Phase.PROVISIONING:
        return Pill("progress", f"Provisioning {new}")
    if phase is Phase.STARTING:
        return Pill("progress", f"Starting {new}")
    if phase is Phase.PROMOTING:
        return Pill("progress", f"Making {new} stable")
    percent = rollout.plan[rollout.step]["weight"]
    if rollout.stage == Stage.APPROVAL:
        return Pill("waiting", "Waiting for you")
    if rollout.stage == Stage.HOLD:
        return Pill("progress", f"Baking at {percent} %")
    return Pill("progress", f"Shifting to {percent} %")
