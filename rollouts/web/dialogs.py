"""The question before an action: a page without script, the body of a dialog with it.

Views that act answer GET with ``confirm``; their refusals come from ``asks``. Nothing here acts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from rollouts.models import Version
from rollouts.web.asks import new_request_id


@dataclass(frozen=True)
class Confirm:
    """What ``parts/confirm.html`` shows.

    ``lines`` say what will happen, with times; ``present`` the figures of each version now.
    ``typed``: a name that must be typed, for what cannot be undone. ``problem``: why the last try
    did not work. ``expect``: the rollout's revision that the figures belong to.
    """

    title: str
    button: str
    action: str
    cancel: str
    lines: Sequence[str] = ()
    present: Sequence[tuple[Version, str]] = ()
    danger: bool = False
    typed: str = ""
    reason_required: bool = False
    problem: str = ""
    expect: int | None = None
    request_id: str = field(default_factory=new_request_id)


def confirm(request: HttpRequest, ask: Confirm, *, status: int = 200) -> HttpResponse:
    """The dialog's body for htmx and ``dialogs.js`` (HX-Request), else a page of its own."""
    part = request.headers.get("HX-Request") == "true"
    template = "rollouts/parts/confirm.html" if part else "rollouts/confirm.html"
    return render(request, template, {"ask": ask}, status=status)
