"""What every door does with a wish: record it, tick at once, and record a refusal.

Called by web, admin, API and commands. The tick runs right here, before the door answers, so that
a click takes effect with the broker and every worker dead; workers are only the second chance.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from rollouts import building, clock, provision, reconcile
from rollouts.actions import Ask
from rollouts.errors import ActionRefused, InvalidInput, MeshuiError
from rollouts.models import Build, Event, Rollout, Service, Stack, Version

log = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")


def act(action: Callable[..., R], *args: Any, ask: Ask, **fields: Any) -> R:
    """Run an action of ``rollouts.actions`` and the tick that it asks for; return its result.

    Raises what the action raises, after writing the refusal down. A tick that fails is not a
    refusal: the wish is stored, and workers try again.
    """
    try:
        result = action(*args, ask=ask, **fields)
    except (ActionRefused, InvalidInput) as error:
        _record_refusal(action, args, ask, error)
        raise
    _tick((result,) if isinstance(result, Build) else args)
    return result


def _record_refusal(
    action: Callable[..., Any], args: tuple[Any, ...], ask: Ask, error: MeshuiError
) -> None:
    subject = args[0] if args else None
    rollout = subject if isinstance(subject, Rollout) else None
    Event.objects.create(
        at=ask.now,
        user=ask.by,
        actor=ask.name,
        source=ask.source,
        verb="refused",
        severity="warn",
        service=_service_of(subject),
        rollout=rollout,
        text=f"was refused: {action.__name__.removeprefix('request_').replace('_', ' ')}",
        reason=f"{error} {ask.reason}".strip(),
    )


def _service_of(subject: object) -> Service | None:
    if isinstance(subject, Service):
        return subject
    return subject.service if isinstance(subject, Rollout | Version | Build) else None


def _tick(args: tuple[Any, ...]) -> None:
    subject = args[0] if args else None
    service = _service_of(subject)
    try:
        if isinstance(subject, Stack):
            provision.tick_wish(subject.pk, clock.moment())
        elif isinstance(subject, Build):
            building.tick_wish(subject.pk, clock.moment())
        elif service is not None:
            reconcile.tick_wish(service.pk, clock.moment())
    except MeshuiError as error:
        log.warning("the tick after a wish failed, workers will try again: %s", error)
