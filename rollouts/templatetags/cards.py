"""The tag ``failure``: a reason, with what it means and what to do where that is known."""

from __future__ import annotations

from typing import Any

from django import template

from rollouts.domain import failures
from rollouts.web.cards import known

register = template.Library()


@register.filter
def brief(reason: str) -> str:
    """One line; the whole of it belongs in a title or beside it."""
    return failures.brief(reason)


@register.inclusion_tag("rollouts/parts/failure.html")
def failure(reason: str) -> dict[str, Any]:
    return {"reason": reason, "card": known(reason)}
