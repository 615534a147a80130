"""Who asks for what, when and why; and the rules that every action shares."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import models

from rollouts.errors import ActionRefused, InvalidInput, NotAllowed
from rollouts.models import Event

GROUPS = {
    "rollouts.operate_service": "operator",
    "rollouts.rollback_rollout": "operator",
    "rollouts.provision_mesh": "admin",
}


@dataclass(frozen=True)
class Ask:
    """Who asks, through which door (web, admin, api, cli), when and why.

    ``request_id`` makes a repeated request harmless: the second does nothing and raises nothing.
    ``expect`` is the rollout's revision on the page the person saw; another one raises Stale.
    """

    by: User
    source: str
    now: datetime
    reason: str = ""
    request_id: str | None = None
    expect: int | None = None

    @property
    def name(self) -> str:
        return self.by.get_username()


def permit(ask: Ask, permission: str) -> None:
    """Raise NotAllowed, naming the group that may, unless the person has the permission."""
    if not (ask.by.is_active and ask.by.has_perm(permission)):
        raise NotAllowed(f"Your account may look, not act. Ask the {GROUPS[permission]} group.")


def repeated(ask: Ask, verb: str) -> Event | None:
    """The Event of the same request sent before; raises ActionRefused for another request."""
    if ask.request_id is None:
        return None
    event = Event.objects.filter(request_id=ask.request_id).first()
    if event is not None and (event.verb != verb or event.user_id != ask.by.pk):
        raise ActionRefused("This request id was used for another request already.")
    return event


def record(ask: Ask, verb: str, text: str, **of: Any) -> Event:
    """Write the Event of an act. ``of``: mesh, service, rollout, before, after, severity."""
    return Event.objects.create(
        at=ask.now,
        user=ask.by,
        actor=ask.name,
        source=ask.source,
        verb=verb,
        text=text,
        reason=ask.reason,
        request_id=ask.request_id,
        **of,
    )


def validated(row: models.Model) -> None:
    """Check every field of a row that is about to be saved; raises InvalidInput for the first."""
    try:
        row.full_clean()
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise InvalidInput(field, " ".join(messages)) from error
