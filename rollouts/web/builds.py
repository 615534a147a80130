"""One build: its state, its log as it comes, and its end.

Views of ``web.urls``. They read rows and pass wishes on through ``doors``.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from rollouts import actions, doors
from rollouts.builders.base import STREAMED
from rollouts.models import Build
from rollouts.web.asks import answers_refusals, ask, groups_with, new_request_id
from rollouts.web.images import KINDS, short

TAIL = 500  # lines on the page; all of them are in the text
SLOW_S = 5  # a build that nobody has taken by then is said to wait
PILLS = {"succeeded": "succeeded", "failed": "failed", "cancelled": "idle", "queued": "queued"}


def _found(pk: int) -> Build:
    builds = Build.objects.select_related("service__mesh", "created_by", "version")
    return get_object_or_404(builds.defer("archive"), pk=pk)


@require_GET
def build(request: HttpRequest, build: int) -> HttpResponse:
    part = request.headers.get("HX-Request") == "true"
    template = "rollouts/parts/build_state.html" if part else "rollouts/build.html"
    return render(request, template, _context(request, _found(build)))


def _context(request: HttpRequest, found: Build) -> dict[str, Any]:
    now = timezone.now()
    begun, ended = found.started_at or found.created_at, found.finished_at
    waited = (now - found.created_at).total_seconds()
    lines = list(found.lines.order_by("-number")[:TAIL])[::-1]
    return {
        "build": found,
        "service": found.service,
        "kind": KINDS.get(found.kind, found.kind),
        "pill": PILLS.get(found.phase, "progress"),
        "words": "Cancelling" if found.is_live and found.cancelled else found.get_phase_display(),
        "took": (ended - begun).total_seconds() if ended else None,
        "begun": begun.timestamp(),
        "nobody": found.phase == "queued" and found.kind in STREAMED and waited > SLOW_S,
        "waited": waited,
        "lines": lines,
        "hidden": lines[0].number - 1 if lines else 0,
        "short": short(found.digest),
        "topic": f"build-{found.pk}",
        "may": request.user.has_perm("rollouts.operate_service"),
        "groups": groups_with("operate_service"),
    }


@require_GET
def log(request: HttpRequest, build: int) -> HttpResponse:
    """The whole log as text, a line each."""
    lines = _found(build).lines.values_list("text", flat=True)
    text = "".join(f"{line}\n" for line in lines)
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


@require_http_methods(["GET", "HEAD", "POST"])
@answers_refusals
def cancel(request: HttpRequest, build: int) -> HttpResponse:
    """GET asks, POST does."""
    found = _found(build)
    htmx = request.headers.get("HX-Request") == "true"
    if request.method == "POST":
        doors.act(actions.cancel_build, found, ask=ask(request, timezone.now()))
        url = found.get_absolute_url()
        return HttpResponse(status=204, headers={"HX-Redirect": url}) if htmx else redirect(url)
    context = {
        "title": f"Cancel build #{found.pk} of {found.service.slug} {found.label}?",
        "lines": [
            "What is running is stopped, and no version comes of it.",
            "An image that is pushed already makes its version all the same.",
        ],
        "cta": f"Cancel build #{found.pk}",
        "stay": "Keep building",
        "danger": False,
        "back": found.get_absolute_url(),
        "request_id": new_request_id(),
        "may": request.user.has_perm("rollouts.operate_service"),
        "groups": groups_with("operate_service"),
    }
    part = "rollouts/parts/service_question.html"
    return render(request, part if htmx else "rollouts/service_confirm.html", context)
