"""Infrastructure: meshes, their stacks, their proxies, and the parts of meshui.

Views of ``web.urls``. They read rows, ask the provisioner for a preview, and pass wishes on
through ``doors``; a worker creates and destroys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from rollouts import actions, doors
from rollouts.errors import InvalidInput, ProvisionerError
from rollouts.models import Heartbeat, Mesh, Proxy, Service, Stack, StackEvent
from rollouts.stacks.base import Change, provisioner
from rollouts.web.asks import answers_refusals, ask, groups_with, new_request_id
from rollouts.web.preview import duration

PARTS = {"worker": "Worker", "sampler": "Sampler", "controlplane": "Control plane"}
SILENT_AFTER_S = 5
EVENTS_SHOWN = 500
BUSY = ("creating", "deleting")


@dataclass(frozen=True)
class Part:
    """A part of meshui. ``silent_s`` seconds without a sign of life; None: never seen."""

    name: str
    at: datetime | None
    silent_s: float | None

    @property
    def ok(self) -> bool:
        return self.silent_s is not None and self.silent_s <= SILENT_AFTER_S

    @property
    def words(self) -> str:
        if self.silent_s is None:
            return "not seen yet"
        return "answers" if self.ok else f"not answering for {duration(self.silent_s)}"


@dataclass(frozen=True)
class ProxyRow:
    """A proxy and, for each service of its mesh, the generation it has confirmed."""

    proxy: Proxy
    services: Sequence[tuple[Service, int | None, bool]]


def parts(now: datetime) -> list[Part]:
    """The parts that must answer, in fixed order."""
    beats = {beat.name: beat.at for beat in Heartbeat.objects.filter(name__in=PARTS)}
    return [
        Part(label, beats.get(name), (now - beats[name]).total_seconds() if name in beats else None)
        for name, label in PARTS.items()
    ]


def proxy_rows(mesh: Mesh) -> list[ProxyRow]:
    """Three queries, whatever the number of proxies."""
    services = list(mesh.services.all())
    found = []
    for proxy in mesh.proxies.order_by("node").prefetch_related("acknowledgements"):
        confirmed = {ack.service_id: ack.generation for ack in proxy.acknowledgements.all()}
        found.append(
            ProxyRow(
                proxy,
                [
                    (s, confirmed.get(s.pk), confirmed.get(s.pk, -1) >= s.generation)
                    for s in services
                ],
            )
        )
    return found


@require_GET
def infrastructure(request: HttpRequest) -> HttpResponse:
    meshes = Mesh.objects.order_by("slug").prefetch_related("stacks", "services")
    context = {
        "meshes": [(mesh, proxy_rows(mesh)) for mesh in meshes],
        "parts": parts(timezone.now()),
    }
    part = request.headers.get("HX-Request") == "true"
    template = "rollouts/parts/stack_infra.html" if part else "rollouts/infrastructure.html"
    return render(request, template, context)


@require_GET
def stack(request: HttpRequest, mesh: str, name: str) -> HttpResponse:
    found = _stack(mesh, name)
    part = request.headers.get("HX-Request") == "true"
    template = "rollouts/parts/stack_state.html" if part else "rollouts/stack.html"
    return render(request, template, _context(request, found))


def _stack(mesh: str, name: str) -> Stack:
    return get_object_or_404(Stack.objects.select_related("mesh"), mesh__slug=mesh, name=name)


def _context(request: HttpRequest, found: Stack) -> dict[str, Any]:
    now = timezone.now()
    problems = request.GET.get("show") == "problems"
    spent = (now - found.requested_at).total_seconds() if found.requested_at else 0.0
    usual = usual_s(found)
    return {
        "stack": found,
        "pill": pill(found),
        "events": events(found, problems=problems),
        "problems": problems,
        "busy": found.phase in BUSY,
        "asked": found.requested_at and not _settled(found) and found.phase not in BUSY,
        "outputs": [(key, value, _is_link(value)) for key, value in sorted(found.outputs.items())],
        "usual": duration(usual) if usual else "",
        "slow": bool(usual and found.phase in BUSY and spent > 2 * usual),
        "topic": f"stack-{found.pk}",
        "parts": [part for part in parts(now) if not part.ok],
        "may": request.user.has_perm("rollouts.provision_mesh"),
        "groups": groups_with("provision_mesh"),
    }


def _settled(found: Stack) -> bool:
    """Is the fact what was wished, or has the machine given up?"""
    wanted = "ready" if found.wanted == Stack.PRESENT else "absent"
    return found.phase in (wanted, "failed")


def pill(found: Stack) -> str:
    """The state in words, with real counts: "Creating, 3 of 7 resources"."""
    words = found.get_phase_display()
    return f"{words}, {found.done} of {found.total} resources" if found.phase in BUSY else words


def _is_link(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))


def events(found: Stack, *, problems: bool) -> list[StackEvent]:
    """Newest first. A problem has FAILED in its status, whatever the provisioner."""
    chosen = found.events.all()
    if problems:
        chosen = chosen.filter(status__icontains="fail")
    return list(chosen[:EVENTS_SHOWN])


def usual_s(found: Stack) -> float | None:
    """Median seconds from request to ready of stacks of this kind; None: no history."""
    spans = [
        (ready - asked).total_seconds()
        for asked, ready in Stack.objects.filter(kind=found.kind, ready_at__isnull=False)
        .exclude(pk=found.pk)
        .values_list("requested_at", "ready_at")
        if asked and ready and ready >= asked
    ]
    return median(spans) if spans else None


@require_http_methods(["GET", "HEAD", "POST"])
@answers_refusals
def stack_create(request: HttpRequest, mesh: str, name: str) -> HttpResponse:
    """GET shows what would be created, POST asks for it."""
    found = _stack(mesh, name)
    if request.method == "POST":
        doors.act(actions.request_provision, found, ask=ask(request, timezone.now()))
        return redirect(found)
    changes, problem = preview(found)
    context = {"verb": "create", "changes": changes, "problem": problem}
    return _confirm(request, found, context)


def preview(found: Stack) -> tuple[Sequence[Change], str]:
    """The changes, or none and the sentence why they cannot be known."""
    try:
        return provisioner(found.kind).preview(found), ""
    except ProvisionerError as error:
        return (), str(error)


@require_http_methods(["GET", "HEAD", "POST"])
@answers_refusals
def stack_delete(request: HttpRequest, mesh: str, name: str) -> HttpResponse:
    """GET says what is lost, POST with the typed name asks for it."""
    found = _stack(mesh, name)
    context: dict[str, Any] = {"verb": "delete", "services": found.mesh.services.all()}
    if request.method == "POST":
        typed = request.POST.get("typed_name", "")[:200]
        try:
            asked = ask(request, timezone.now())
            doors.act(actions.request_deprovision, found, typed_name=typed, ask=asked)
            return redirect(found)
        except InvalidInput as error:
            context["wrong"] = str(error)
    return _confirm(request, found, context, status=422 if "wrong" in context else 200)


def _confirm(
    request: HttpRequest, found: Stack, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    context |= {
        "stack": found,
        "pill": pill(found),
        "request_id": new_request_id(),
        "may": request.user.has_perm("rollouts.provision_mesh"),
        "groups": groups_with("provision_mesh"),
    }
    return render(request, "rollouts/confirm_stack.html", context, status=status)
