"""The pages of one service: what runs, what a way back would be, its settings and versions.

Views of ``web.urls``. They read rows and pass wishes on through ``doors``; they decide nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from rollouts import actions, doors
from rollouts.actions import Ask
from rollouts.domain.state import Phase
from rollouts.errors import InvalidInput
from rollouts.models import Mesh, Rollout, Service, Task, Version
from rollouts.web.asks import answers_refusals, ask, groups_with, new_request_id, split_of
from rollouts.web.facts import read_facts
from rollouts.web.forms import ServiceForm, VersionForm
from rollouts.web.images_link import images_url
from rollouts.web.map import service_map
from rollouts.web.messages import teller
from rollouts.web.notices import router_notice
from rollouts.web.preview import duration, usual_start_s
from rollouts.web.settings_shown import settings_of
from rollouts.web.tasks_shown import image_of, task_noun, task_rows

OLD_SHOWN, ROLLOUTS_SHOWN = 10, 10


@dataclass(frozen=True)
class Row:
    """One version on the service page. ``way_back``: what a rollback to it would take."""

    version: Version
    role: str
    weight: int
    tasks: list[Task]
    way_back: str
    may_return: bool
    may_deploy: bool
    may_destroy: bool

    @property
    def image(self) -> tuple[str, str]:
        return image_of(self.version)

    @property
    def healthy(self) -> int:
        return sum(task.healthy for task in self.tasks)

    @property
    def retires(self) -> float | None:
        """Unix time at which the idle version is drained; None: kept."""
        left = self.version.retire_left
        return None if left is None else self.version.service.clock_wall + left


@require_GET
def service(request: HttpRequest, slug: str) -> HttpResponse:
    found = get_object_or_404(Service.objects.select_related("stable", "mesh"), slug=slug)
    part = request.headers.get("HX-Request") == "true"
    template = "rollouts/parts/service_state.html" if part else "rollouts/service.html"
    return render(request, template, _context(request, found))


def _context(request: HttpRequest, found: Service) -> dict[str, Any]:
    live = found.live_rollout()
    newest = found.rollouts.select_related("service", "to_version", "from_version").first()
    shown = rows(found, live)
    return {
        "map": service_map(read_facts(newest, timezone.now())) if newest else None,
        "service": found,
        "live": live,
        "rows": shown,
        "tasks": task_rows(found, tasks_of(shown)),
        "noun": task_noun(found),
        "notice": router_notice(found.mesh.router),
        "says": teller(found.mesh) is not None,
        "split": split_of(found),
        "rollouts": found.rollouts.select_related("to_version", "from_version", "started_by")[
            :ROLLOUTS_SHOWN
        ],
        "settings": settings_of(found),
        "topic": f"service-{found.pk}",
        "may": request.user.has_perm("rollouts.operate_service"),
        "may_return": request.user.has_perm("rollouts.rollback_rollout"),
        "groups": groups_with("operate_service"),
        "request_id": new_request_id(),
    }


def rows(found: Service, live: Rollout | None) -> list[Row]:
    """Every version that has tasks or requests, and the newest others."""
    usual, served = usual_start_s(found), _served(found)
    shown, old = [], 0
    for version in found.versions.prefetch_related("tasks"):
        version.service = found
        tasks = list(version.tasks.all())
        here = version.pk == found.stable_id or version.count or found.weight_of(version.pk)
        if here or tasks or old < OLD_SHOWN:
            old += not (here or tasks)
            row = _row(found, live, version, tasks, usual)
            shown.append(row if version.pk in served else _without_way_back(row))
    return shown


def tasks_of(shown: list[Row]) -> list[Task]:
    """Every task of these versions, knowing its version."""
    found = []
    for row in shown:
        for task in row.tasks:
            task.version = row.version
            found.append(task)
    return found


def _served(found: Service) -> set[int]:
    """Versions that were stable once: only to those is there a way back."""
    finished = found.rollouts.filter(phase=Phase.SUCCEEDED).values_list("to_version", flat=True)
    came_from = found.rollouts.values_list("from_version", flat=True)
    return {pk for pk in (*finished, *came_from) if pk is not None}


def _without_way_back(row: Row) -> Row:
    """For a version that never served everybody: it is deployed, not rolled back to."""
    return replace(row, way_back="", may_return=False, may_deploy=row.may_return)


def _row(
    found: Service, live: Rollout | None, version: Version, tasks: list[Task], usual: float | None
) -> Row:
    stable, weight = version.pk == found.stable_id, found.weight_of(version.pk)
    idle = not stable and not weight and live is None
    return Row(
        version=version,
        role=_role(version, live, stable=stable, tasks=bool(tasks)),
        weight=weight,
        tasks=tasks,
        way_back="" if stable else way_back(found, version, tasks, usual),
        may_return=idle and found.stable_id is not None,
        may_deploy=False,
        may_destroy=idle and bool(version.count) and version.destroy_requested_at is None,
    )


def _role(version: Version, live: Rollout | None, *, stable: bool, tasks: bool) -> str:
    if stable:
        return "stable"
    if live and live.to_version_id == version.pk:
        return "new"
    if (
        version.drain_left is not None
        or version.destroy_requested_at
        or (tasks and not version.keep)
    ):
        return "stopping"
    return "warm" if version.count else "cold"


def way_back(found: Service, version: Version, tasks: list[Task], usual: float | None) -> str:
    """What a rollback to this version would be, in words."""
    healthy = sum(task.healthy and task.index < version.keep for task in tasks)
    if healthy >= found.tasks:
        return "warm: one weight write"
    missing = found.tasks - healthy
    about = f", about {duration(usual)}" if usual is not None else ""
    return f"cold: starts {missing} task{'s' if missing > 1 else ''} first{about}"


def _may_operate(request: HttpRequest) -> None:
    """Forms are for those who may send them; the POST is checked again by the action."""
    if request.method != "POST" and not request.user.has_perm("rollouts.operate_service"):
        raise PermissionDenied


@require_http_methods(["GET", "HEAD", "POST"])
@answers_refusals
def add(request: HttpRequest) -> HttpResponse:
    """A service and its first version in one form, then the deploy form."""
    _may_operate(request)
    posted = request.POST if request.method == "POST" else None
    mesh = request.GET.get("mesh", "")
    chosen = {"initial": {"mesh": mesh}} if mesh.isascii() and mesh.isdigit() else {}
    form, build = (
        ServiceForm(posted, instance=Service(sample_pattern=""), **chosen),
        VersionForm(None, posted),
    )
    if posted is not None and all([form.is_valid(), build.is_valid()]):
        try:
            return _add(request, form, build)
        except InvalidInput as error:
            _blame(error, form, build)
    status = 422 if form.errors or build.errors else 200
    context = {"form": form, "build": build, "request_id": _request_id(request)}
    return render(request, "rollouts/service_form.html", context, status=status)


def _add(request: HttpRequest, form: ServiceForm, build: VersionForm) -> HttpResponse:
    fields = dict(form.cleaned_data)
    mesh: Mesh = fields.pop("mesh")
    asked = ask(request, timezone.now())
    made = doors.act(add_service_with_version, mesh, fields, build.cleaned_data, ask=asked)
    return redirect("deploy", made.slug)


@transaction.atomic
def add_service_with_version(
    mesh: Mesh, fields: dict[str, Any], build: dict[str, Any], *, ask: Ask
) -> Service:
    """Both or neither: a refused version leaves no service behind."""
    made = actions.add_service(mesh, fields, ask=ask)
    # A request id belongs to one action; the second gets its own, the same for each repetition.
    second = f"{ask.request_id[:62]}-v" if ask.request_id else None
    actions.add_version(made, **build, ask=replace(ask, request_id=second))
    return made


@require_http_methods(["GET", "HEAD", "POST"])
@answers_refusals
def edit(request: HttpRequest, slug: str) -> HttpResponse:
    _may_operate(request)
    found = get_object_or_404(Service, slug=slug)
    form = ServiceForm(request.POST if request.method == "POST" else None, instance=found)
    if form.is_bound and form.is_valid():
        try:
            fields = {name: form.cleaned_data[name] for name in form.changed_data}
            kept = Service.objects.get(pk=found.pk)  # validation wrote into ``found``
            doors.act(actions.change_service, kept, fields, ask=ask(request, timezone.now()))
            return redirect(kept)
        except InvalidInput as error:
            _blame(error, form)
    context = {
        "form": form,
        "service": Service.objects.get(pk=found.pk),
        "request_id": _request_id(request),
    }
    return render(
        request, "rollouts/service_form.html", context, status=422 if form.errors else 200
    )


@require_http_methods(["GET", "HEAD", "POST"])
@answers_refusals
def version_add(request: HttpRequest, slug: str) -> HttpResponse:
    _may_operate(request)
    found = get_object_or_404(Service.objects.select_related("mesh"), slug=slug)
    form = VersionForm(found, request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        try:
            asked = ask(request, timezone.now())
            made = doors.act(actions.add_version, found, **form.cleaned_data, ask=asked)
            return redirect(f"{reverse('deploy', args=[slug])}?version={made.number}")
        except InvalidInput as error:
            _blame(error, form)
    context = {"form": form, "service": found, "request_id": _request_id(request)}
    context["images"] = images_url(found)
    return render(
        request, "rollouts/version_form.html", context, status=422 if form.errors else 200
    )


def _blame(error: InvalidInput, *tried: forms.BaseForm) -> None:
    """Put the sentence next to the field it names, else on top of the first form."""
    owner = next((form for form in tried if error.field in form.fields), None)
    if owner is not None:
        owner.add_error(error.field, str(error))
    else:
        tried[0].add_error(None, str(error))


def _request_id(request: HttpRequest) -> str:
    return request.POST.get("request_id") or new_request_id()


@require_http_methods(["GET", "HEAD", "POST"])
@answers_refusals
def version_act(request: HttpRequest, slug: str, number: int, verb: str) -> HttpResponse:
    """Roll back to a version, or destroy a kept one: GET asks, POST does."""
    found = get_object_or_404(Service.objects.select_related("stable"), slug=slug)
    version = get_object_or_404(found.versions.select_related("service"), number=number)
    if verb not in ("return", "destroy"):
        raise Http404
    if request.method != "POST":
        return _confirm(request, _question(found, version, verb))
    asked = ask(request, timezone.now())
    if verb == "destroy":
        doors.act(actions.request_destroy, version, ask=asked)
        return _done(request, found.get_absolute_url())
    rollout = doors.act(actions.request_return, found, version, ask=asked)
    return _done(request, rollout.get_absolute_url())


def _question(found: Service, version: Version, verb: str) -> dict[str, Any]:
    """Title, effects and button of a confirmation."""
    context = {"service": found, "back": found.get_absolute_url(), "permission": "operate_service"}
    if verb == "destroy":
        return context | {
            "title": f"Destroy {version.label} of {found.slug}?",
            "lines": [
                f"{version.label} serves no requests. Its tasks are drained and stopped.",
                f"A later rollback to {version.label} has to start them again first.",
            ],
            "cta": f"Destroy {version.label} now",
            "danger": False,
        }
    how = way_back(found, version, list(version.tasks.all()), usual_start_s(found))
    stable = found.stable.label if found.stable else "the running version"
    return context | {
        "permission": "rollback_rollout",
        "title": f"Roll back {found.slug} to {version.label}?",
        "lines": [
            f"{version.label} is {how}.",
            f"All requests go from {stable} to {version.label} once every task is healthy.",
            f"Automatic deploys of {found.slug} are switched off until someone turns them on.",
        ],
        "cta": f"Roll back to {version.label} now",
        "danger": True,
    }


@require_http_methods(["GET", "HEAD", "POST"])
@answers_refusals
def automatic(request: HttpRequest, slug: str) -> HttpResponse:
    """Switch automatic deploys: GET asks, POST with ``on`` 1 or 0 does."""
    found = get_object_or_404(Service.objects.select_related("stable"), slug=slug)
    if request.method != "POST":
        return _confirm(request, _automatic_question(found))
    if request.POST.get("on") not in ("0", "1"):
        raise InvalidInput("on", "Say whether automatic deploys shall be on (1) or off (0).")
    on = request.POST["on"] == "1"
    doors.act(actions.set_automatic_deploys, found, on, ask=ask(request, timezone.now()))
    return _done(request, found.get_absolute_url())


def _automatic_question(found: Service) -> dict[str, Any]:
    word = "off" if found.automatic_deploys else "on"
    effect = (
        "Deploys that come from automation are refused. People can still deploy by hand."
        if found.automatic_deploys
        else "Deploys that come from automation start again. Nothing starts at this moment."
    )
    return {
        "service": found,
        "back": found.get_absolute_url(),
        "permission": "operate_service",
        "title": f"Turn automatic deploys of {found.slug} {word}?",
        "lines": [effect],
        "cta": f"Turn automatic deploys {word}",
        "danger": False,
        "on": "0" if found.automatic_deploys else "1",
    }


def _confirm(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    part = request.headers.get("HX-Request") == "true"
    template = "rollouts/parts/service_question.html" if part else "rollouts/service_confirm.html"
    context |= {
        "request_id": new_request_id(),
        "may": request.user.has_perm(f"rollouts.{context['permission']}"),
        "groups": groups_with(context["permission"]),
    }
    return render(request, template, context)


def _done(request: HttpRequest, url: str) -> HttpResponse:
    """Go on to ``url``; htmx wants it in a header."""
    if request.headers.get("HX-Request") == "true":
        return HttpResponse(status=204, headers={"HX-Redirect": url})
    return redirect(url)
