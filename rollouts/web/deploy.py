"""The deploy form: a version, a strategy, and beside them what will happen.

Two URLs of ``web.urls``. Preview and deploy read the same form, so the plan on the page is the plan
that runs; the page decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from rollouts import actions, doors
from rollouts.domain.plan import DEFAULT_PRESET, PRESETS
from rollouts.errors import InvalidInput
from rollouts.models import Service, Version
from rollouts.web.asks import answers_refusals, ask, groups_with, new_request_id, split_of
from rollouts.web.forms import CUSTOM, DeployForm
from rollouts.web.preview import Preview, what_will_happen

SEARCH_ABOVE = 10
SHOWN = 100


@dataclass(frozen=True)
class Choice:
    """A version card. ``state``: running (cannot be chosen), warm, stopping or cold."""

    version: Version
    state: str

    @property
    def disabled(self) -> bool:
        return self.state == "running"

    @property
    def digest(self) -> str:
        """The digest, short enough to compare at a glance."""
        kind, _, value = self.version.digest.rpartition(":")
        short = f"{value[:8]}…{value[-4:]}" if len(value) > 14 else value
        return f"{kind}:{short}" if kind else short


@require_http_methods(["GET", "HEAD", "POST"])
@answers_refusals
def deploy(request: HttpRequest, slug: str) -> HttpResponse:
    service = get_object_or_404(Service.objects.select_related("stable", "mesh"), slug=slug)
    if request.method != "POST":
        return _page(request, service, DeployForm(service, initial=_initial(request, service)))
    form = DeployForm(service, request.POST)
    if form.is_valid() and "preview" not in request.POST:
        try:
            return _deploy(request, service, form)
        except InvalidInput as error:
            form.add_error(error.field if error.field in form.fields else None, str(error))
    return _page(request, service, form, status=200 if form.is_valid() else 422)


def _deploy(request: HttpRequest, service: Service, form: DeployForm) -> HttpResponse:
    chosen = form.cleaned_data
    rollout = doors.act(
        actions.request_deploy,
        service,
        chosen["version"],
        plan=chosen["plan"],
        plan_name=chosen["plan_name"],
        ask=ask(request, timezone.now()),
    )
    return redirect(rollout)


@require_GET
def plan(request: HttpRequest, slug: str) -> HttpResponse:
    """The part "What will happen" for the choice in the query."""
    service = get_object_or_404(Service.objects.select_related("stable"), slug=slug)
    form = DeployForm(service, request.GET)
    context = {"preview": preview_of(service, form), "form": form, "chosen": _version(form)}
    return render(request, "rollouts/parts/plan.html", context)


def preview_of(service: Service, form: DeployForm) -> Preview | None:
    """What the form would do; None as long as it is not valid."""
    if not form.is_valid():
        return None
    return what_will_happen(service, form.cleaned_data["version"], form.cleaned_data["plan"])


def _version(form: DeployForm) -> Version | None:
    form.is_valid()
    found = getattr(form, "cleaned_data", {}).get("version")
    return found if isinstance(found, Version) else None


def _initial(request: HttpRequest, service: Service) -> dict[str, Any]:
    """Chosen by the query, else the newest version that is not running and the default plan."""
    default = service.default_plan or DEFAULT_PRESET
    wanted = request.GET.get("version", "")
    fallback = service.versions.exclude(pk=service.stable_id or 0).values_list("number", flat=True)
    preset = default in PRESETS
    return {
        "version": wanted if wanted.isascii() and wanted.isdigit() else fallback.first(),
        "strategy": default if preset else CUSTOM,
        "steps": "" if preset else default,
    }


def choices(service: Service, search: str = "") -> list[Choice]:
    """The newest versions, at most 100, with whether their tasks run."""
    versions = service.versions.select_related("created_by").prefetch_related("tasks")
    if search:
        versions = versions.filter(label__icontains=search)
    return [Choice(version, _state(service, version)) for version in versions[:SHOWN]]


def _state(service: Service, version: Version) -> str:
    if version.pk == service.stable_id:
        return "running"
    tasks = version.tasks.all()
    if not tasks:
        return "cold"
    return "warm" if version.keep else "stopping"


def _healthy_with_requests(service: Service) -> int:
    """Healthy tasks of the versions that have weight; a kept version's do not serve."""
    busy = [int(pk) for pk, weight in service.weights.items() if weight]
    return service.running.filter(healthy=True, version__in=busy).count()


def _page(
    request: HttpRequest, service: Service, form: DeployForm, status: int = 200
) -> HttpResponse:
    search = request.GET.get("q", "").strip()[:63]
    filled = form if form.is_bound else DeployForm(service, form.initial)
    count = service.versions.count()
    context = {
        "service": service,
        "form": form,
        "values": {name: form[name].value() for name in form.fields},
        "choices": choices(service, search),
        "count": count,
        "search": search,
        "searchable": count > SEARCH_ABOVE,
        "presets": PRESETS.values(),
        "live": service.live_rollout(),
        "split": split_of(service),
        "healthy": _healthy_with_requests(service),
        "preview": preview_of(service, filled),
        "chosen": _version(filled),
        "may": request.user.has_perm("rollouts.operate_service"),
        "groups": groups_with("operate_service"),
        "request_id": request.POST.get("request_id") or new_request_id(),
    }
    return render(request, "rollouts/deploy.html", context, status=status)
