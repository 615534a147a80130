"""The provisioner port: infrastructure of a mesh.

``provision.tick`` calls it until the stack is as wanted. Steps are level-triggered: each call
looks at what is there and does the next missing thing, so a killed worker loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from typing import Any, Protocol

from rollouts.errors import ProvisionerError
from rollouts.models import Stack

REGISTRY = {
    "local": "rollouts.stacks.local.LocalProvisioner",
    "cloudformation": "rollouts.stacks.cloudformation.CloudFormationProvisioner",
}


@dataclass(frozen=True)
class Change:
    """One resource that ``apply`` would touch: what happens to it and what it is."""

    action: str  # create, replace, delete, nothing
    resource: str
    kind: str
    about: str = ""


@dataclass(frozen=True)
class Line:
    """A new line of the stack's log; becomes a StackEvent, once for each ``uid`` that is given."""

    resource: str
    kind: str
    status: str
    reason: str = ""
    uid: str | None = None
    at: datetime | None = None  # None: now


@dataclass(frozen=True)
class Progress:
    """Where a stack is. ``phase`` as in Stack.PHASES; ``step`` is the adapter's cursor.

    ``operation``, ``proposal`` and ``drift`` replace the columns of those names; None keeps them.
    ``endpoint``: the mesh's public address from now on; None when this stack has no say in it.
    ``again_s``: seconds until the next call; None: soon while the phase is a working one, else not.
    """

    phase: str
    step: str
    done: int
    total: int
    lines: Sequence[Line] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    operation: Mapping[str, Any] | None = None
    proposal: Mapping[str, Any] | None = None
    drift: Mapping[str, Any] | None = None
    endpoint: str | None = None
    again_s: float | None = None


class Provisioner(Protocol):
    proposes: bool  # changes are worked out first and confirmed by a person

    def preview(self, stack: Stack) -> Sequence[Change]:
        """What ``advance`` towards *present* would do now."""

    def advance(self, stack: Stack) -> Progress:
        """Do the next missing thing towards ``stack.wanted`` and return; never waits, never sleeps.

        With ``drift_requested_at`` later than ``drift_at``: find out what differs.

        Raises ProvisionerError; ``permanent`` ones end in the phase *failed*.
        """


def provisioner(kind: str) -> Provisioner:
    """The provisioner of this kind; raises ProvisionerError for an unknown one."""
    if kind not in REGISTRY:
        raise ProvisionerError(f"There is no provisioner of the kind {kind!r}.", permanent=True)
    module, _, name = REGISTRY[kind].rpartition(".")
    made: Provisioner = getattr(import_module(module), name)()
    return made
