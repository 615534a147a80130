"""The provisioner port: infrastructure of a mesh.

``reconcile.tick_stack`` calls it until the stack is as wanted. Steps are level-triggered: each call
looks at what is there and does the next missing thing, so a killed worker loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol

from rollouts.errors import ProvisionerError
from rollouts.models import Stack

REGISTRY = {"local": "rollouts.stacks.local.LocalProvisioner"}


@dataclass(frozen=True)
class Change:
    """One resource that ``apply`` would touch: what happens to it and what it is."""

    action: str  # create, replace, delete, nothing
    resource: str
    kind: str
    about: str = ""


@dataclass(frozen=True)
class Line:
    """A new line of the stack's log; becomes a StackEvent."""

    resource: str
    kind: str
    status: str
    reason: str = ""


@dataclass(frozen=True)
class Progress:
    """Where a stack is. ``phase`` as in Stack.PHASES; ``step`` is the adapter's cursor."""

    phase: str
    step: str
    done: int
    total: int
    lines: Sequence[Line] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


class Provisioner(Protocol):
    def preview(self, stack: Stack) -> Sequence[Change]:
        """What ``advance`` towards *present* would do now."""

    def advance(self, stack: Stack) -> Progress:
        """Do the next missing thing towards ``stack.wanted`` and return; never waits, never sleeps.

        Raises ProvisionerError; ``permanent`` ones end in the phase *failed*.
        """


def provisioner(kind: str) -> Provisioner:
    """The provisioner of this kind; raises ProvisionerError for an unknown one."""
    if kind not in REGISTRY:
        raise ProvisionerError(f"There is no provisioner of the kind {kind!r}.", permanent=True)
    module, _, name = REGISTRY[kind].rpartition(".")
    made: Provisioner = getattr(import_module(module), name)()
    return made
