"""What ``decide`` reads and returns: the state of one service, what was seen of the world.

Built from rows by ``reconcile``; pure. Times are seconds *left*, never wall-clock instants, so that
clock jumps, restarts and pauses cannot shorten or repeat anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rollouts.domain.plan import Plan

VersionId = int


class Phase(StrEnum):
    PENDING = "pending"
    PROVISIONING = "provisioning"
    STARTING = "starting"
    PROGRESSING = "progressing"
    PROMOTING = "promoting"
    SUCCEEDED = "succeeded"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


FINISHED = frozenset({Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.FAILED})
FORWARD = (
    Phase.PENDING,
    Phase.PROVISIONING,
    Phase.STARTING,
    Phase.PROGRESSING,
    Phase.PROMOTING,
)


class Stage(StrEnum):
    """Where in a step a progressing rollout is."""

    SHIFT = "shift"  # the weight is stored, not every proxy has confirmed it
    HOLD = "hold"
    APPROVAL = "approval"


class Verdict(StrEnum):
    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class TaskSeen:
    """One task as the platform reports it. ``exits`` counts deaths nobody asked for."""

    index: int
    state: str
    healthy: bool
    exits: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Confirmed:
    """Is ``generation`` in force at every proxy? ``lagging``: a sentence for each that lags."""

    generation: int
    verdict: Verdict
    lagging: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """One observation. Not ``fresh``: the platform did not answer, these tasks are old.

    ``trouble``: why what was last asked of platform and router was not done; else empty.
    ``refused``: and it never will be.
    """

    tasks: Mapping[VersionId, tuple[TaskSeen, ...]]
    confirmed: Confirmed
    fresh: bool = True
    trouble: str = ""
    refused: bool = False

    def healthy(self, version: VersionId | None) -> int:
        """Tasks of the version that can take requests now."""
        return sum(task.healthy for task in self.tasks.get(version or 0, ()))

    def exits(self, version: VersionId) -> int:
        return sum(task.exits for task in self.tasks.get(version, ()))

    def reason(self, version: VersionId) -> str:
        """Why a task of the version is not well, the platform's words; empty when all are."""
        ill_first = sorted(self.tasks.get(version, ()), key=lambda task: task.healthy)
        return next((task.reason for task in ill_first if task.reason), "")


@dataclass(frozen=True)
class VersionState:
    """``count`` tasks are asked of the platform, those with index < ``keep`` may take requests.

    ``retire_left`` seconds until an idle version is drained (None: kept until someone destroys it).
    ``drain_left`` seconds until drained tasks are stopped (None: nothing drains).
    """

    label: str
    number: int
    count: int = 0
    keep: int = 0
    retire_left: float | None = None
    drain_left: float | None = None
    destroy: bool = False


@dataclass(frozen=True)
class RolloutState:
    """A live rollout. ``left`` seconds of the present hold, or until the approval times out."""

    to: VersionId
    came_from: VersionId | None
    plan: Plan
    phase: Phase = Phase.PENDING
    step: int = 0
    stage: Stage = Stage.SHIFT
    left: float | None = None
    deadline_left: float = 600.0
    exits_base: int | None = None
    reason: str = ""
    # wishes
    paused: bool = False
    promote_step: int | None = None
    promote_full: bool = False
    rollback: bool = False
    keep_tasks: bool = False
    wish_reason: str = ""
    wish_by: str = ""


@dataclass(frozen=True)
class ServiceState:
    """All that a decision about one service may depend on, apart from what was seen."""

    tasks: int
    stable: VersionId | None
    weights: Mapping[VersionId, int]
    generation: int
    versions: Mapping[VersionId, VersionState]
    rollout: RolloutState | None = None
    automatic: bool = True
    alarm: str = ""
    drain_s: float = 2.0
    deaths_allowed: int = 6  # of starting tasks, before a version is given up
    scale_down_s: float = 600.0
    abort_delay_s: float = 30.0
    keep_warm: int = 1

    def label(self, version: VersionId | None) -> str:
        known = self.versions.get(version or 0)
        return known.label if known else "no version"


@dataclass(frozen=True)
class Said:
    """A sentence for the timeline. ``verb`` is one word; severity info, warn or error."""

    verb: str
    text: str
    reason: str = ""
    severity: str = "info"


@dataclass(frozen=True)
class Decision:
    """What the world should be. ``waiting``: a sentence when something outside holds it up."""

    state: ServiceState
    said: tuple[Said, ...] = field(default=())
    waiting: str = ""
