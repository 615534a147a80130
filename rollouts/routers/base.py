"""The router port: who gets the requests.

``reconcile`` calls it; adapters turn their library's errors into RouterError. Routers do not know
each other, nor platforms.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from rollouts.domain.plan import Plan
from rollouts.domain.state import Confirmed
from rollouts.errors import InvalidPlan, RouterError
from rollouts.models import Service

REGISTRY = {"envoy": "rollouts.routers.envoy.EnvoyRouter"}


@dataclass(frozen=True)
class Caps:
    """What a router can do. ``settle_s`` seconds from a write until it is in force everywhere."""

    max_targets: int = 10
    settle_s: float = 0.1
    hold_before_scale_in_s: float = 0.0


class Router(Protocol):
    caps: Caps

    def apply(self, service: Service, generation: int, *, wait_s: float) -> Confirmed:
        """Put the newest stored weights in force, ``generation`` or later; idempotent.

        Of ``service`` only its name and mesh may be believed: whoever writes weights reads them
        again first, inside its own lock, so that a late call cannot put older ones back. Waits at
        most ``wait_s`` seconds for confirmation and returns what is known then.
        Raises RouterUnreachable.
        """

    def observe(self, service: Service) -> Confirmed:
        """Is the service's generation in force at every proxy? Raises RouterUnreachable."""


def router(kind: str) -> Router:
    """The router of this kind; raises RouterError for an unknown one."""
    if kind not in REGISTRY:
        raise RouterError(f"There is no router of the kind {kind!r}.", permanent=True)
    module, _, name = REGISTRY[kind].rpartition(".")
    made: Router = getattr(import_module(module), name)()
    return made


def check_plan(plan: Plan, caps: Caps) -> None:
    """Refuse, with a sentence, a plan that asks for what the router cannot do."""
    if caps.max_targets < 2 and any(0 < step.weight < 100 for step in plan):
        raise InvalidPlan("plan", "This router cannot split requests between two versions.")
