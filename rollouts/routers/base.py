"""The router port: who gets the requests.

``reconcile`` calls it; adapters turn their library's errors into RouterError. Routers do not know
each other, nor platforms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from rollouts.domain.plan import PRESETS, Plan, parse
from rollouts.domain.state import Confirmed
from rollouts.errors import InvalidInput, InvalidPlan, RouterError
from rollouts.models import Service, Version

REGISTRY = {
    "envoy": "rollouts.routers.envoy.EnvoyRouter",
    "appmesh": "rollouts.routers.appmesh.AppMeshRouter",
    "alb": "rollouts.routers.alb.AlbRouter",
}


# What tasks of a version must join to get requests, by version pk: {"target_group": arn} …
Joins = Mapping[int, Mapping[str, str]]


@dataclass(frozen=True)
class Caps:
    """What a router can do.

    ``settle_s``: seconds from weights that were read back until they count as in force; 0 where the
    proxies prove it. ``hold_before_scale_in_s``: the least time that tasks go on running after
    their last request may have been sent to them. ``notice``: a sentence that every page shows.
    """

    max_targets: int = 10
    settle_s: float = 0.0
    hold_before_scale_in_s: float = 0.0
    provable: bool = True
    notice: str = ""


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
        """Is the service's generation in force at every proxy? Raises RouterUnreachable.

        A router that can prove no more says *yes* when it reads back what is stored.
        """

    def ensure_targets(self, service: Service, versions: Sequence[Version]) -> Joins:
        """Make what requests to each version go through, before its tasks start; idempotent."""

    def drop_targets(self, service: Service, versions: Sequence[Version]) -> None:
        """Remove every target of the service that belongs to none of ``versions``; idempotent."""


def router(kind: str) -> Router:
    """The router of this kind; raises RouterError for an unknown one."""
    if kind not in REGISTRY:
        raise RouterError(f"There is no router of the kind {kind!r}.", permanent=True)
    module, _, name = REGISTRY[kind].rpartition(".")
    made: Router = getattr(import_module(module), name)()
    return made


def check_plan(plan: Plan, caps: Caps) -> None:
    """Refuse, with a sentence, a plan that asks for what the router cannot do.

    Nothing but the split of requests depends on the router: holds and approvals begin only when
    weights count as in force, however long that takes.
    """
    if caps.max_targets < 2 and any(0 < step.weight < 100 for step in plan):
        raise InvalidPlan("plan", "This router cannot split requests between two versions.")


def check_settings(service: Service, caps: Caps) -> None:
    """Refuse settings that the service's router cannot keep. Raises InvalidInput for the field."""
    text = service.default_plan
    try:
        check_plan(PRESETS[text].steps if text in PRESETS else parse(text), caps)
    except InvalidPlan as error:
        raise InvalidInput("default_plan", str(error)) from error
    # Stable and new are named beside the kept ones.
    if service.keep_warm > (room := max(0, caps.max_targets - 2)):
        raise InvalidInput(
            "keep_warm",
            f"At most {room}: this router names {caps.max_targets} versions of a service at once.",
        )
