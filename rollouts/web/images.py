"""The images of a service: what is in its repository, what was built, and the form to build.

Views of ``web.urls``. The list is asked of ECR for each request and kept nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from rollouts import actions, doors
from rollouts.builders.repository import Image, images, repository
from rollouts.errors import AwsError, BuildError, InvalidInput
from rollouts.models import Build, Service, Version
from rollouts.web.asks import answers_refusals, ask, groups_with, new_request_id
from rollouts.web.forms_build import BuildForm, kinds

SHOWN, BUILDS_SHOWN = 25, 10
KINDS = {"existing": "image that was there", "codebuild": "CodeBuild", "docker": "Docker"}
BAD = ("CRITICAL", "HIGH")


@dataclass(frozen=True)
class Row:
    """An image and the versions that run it."""

    image: Image
    versions: list[Version]

    @property
    def short(self) -> str:
        return short(self.image.digest)

    @property
    def findings(self) -> str:
        """In words: "2 critical, 5 high, 3 other"."""
        found = self.image.findings
        if found is None:
            return "not scanned" if not self.image.scan else f"scan: {self.image.scan.lower()}"
        words = [f"{found[name]} {name.lower()}" for name in BAD if found.get(name)]
        other = sum(number for name, number in found.items() if name not in BAD)
        return ", ".join([*words, f"{other} other"] if other else words) or "none found"

    @property
    def tone(self) -> str:
        """bad, warn, ok, or quiet: a class, next to the words."""
        found = self.image.findings
        if found is None:
            return "quiet"
        return "bad" if any(found.get(name) for name in BAD) else "warn" if found else "ok"

    @property
    def name(self) -> str:
        """What the form is filled with: a tag, else the digest."""
        return self.image.tags[0] if self.image.tags else self.image.digest


def short(digest: str) -> str:
    """A digest, short enough to compare at a glance."""
    kind, _, value = digest.rpartition(":")
    cut = f"{value[:8]}…{value[-4:]}" if len(value) > 14 else value
    return f"{kind}:{cut}" if kind else cut


def rows(service: Service, found: list[Image]) -> list[Row]:
    """Each image with the versions of its digest; one query."""
    of: dict[str, list[Version]] = {}
    for version in service.versions.order_by("-number"):
        of.setdefault(version.digest, []).append(version)
    return [Row(image, of.get(image.digest, [])) for image in found]


@require_GET
def listing(request: HttpRequest, slug: str) -> HttpResponse:
    service = get_object_or_404(Service.objects.select_related("mesh"), slug=slug)
    uri, page, problem = _images(service, request.GET.get("page", "1"))
    builds = service.builds.select_related("created_by", "version").defer("archive")
    context = {
        "service": service,
        "uri": uri,
        "page": page,
        "problem": problem,
        "builds": [(build, KINDS.get(build.kind, build.kind)) for build in builds[:BUILDS_SHOWN]],
        "may": request.user.has_perm("rollouts.operate_service"),
        "groups": groups_with("operate_service"),
    }
    return render(request, "rollouts/images.html", context)


def _images(service: Service, number: str) -> tuple[str, Page[Row] | None, str]:
    """The repository, one page of it newest first, and why it cannot be shown."""
    if service.mesh.platform != "ecs":
        return "", None, f"{service.slug} runs as processes of this machine, not as images."
    try:
        held = repository(service)
    except (BuildError, InvalidInput) as error:
        return "", None, str(error)
    try:
        found = images(held)
    except AwsError as error:
        return held.uri, None, str(error)
    return held.uri, Paginator(rows(service, found), SHOWN).get_page(number), ""


@require_http_methods(["GET", "HEAD", "POST"])
@answers_refusals
def add(request: HttpRequest, slug: str) -> HttpResponse:
    """The form: GET shows it, filled with an image or an earlier build; POST asks for a build."""
    if request.method != "POST" and not request.user.has_perm("rollouts.operate_service"):
        raise PermissionDenied
    service = get_object_or_404(Service.objects.select_related("mesh"), slug=slug)
    if request.method != "POST":
        return _form(request, service, BuildForm(service, initial=_initial(request, service)))
    form = BuildForm(service, request.POST, request.FILES)
    if form.is_valid():
        try:
            return redirect(_ask_for(request, service, form))
        except InvalidInput as error:
            form.add_error(error.field if error.field in form.fields else None, str(error))
    return _form(request, service, form, status=422)


def _ask_for(request: HttpRequest, service: Service, form: BuildForm) -> Build:
    chosen = form.cleaned_data
    return doors.act(
        actions.request_build,
        service,
        kind=chosen["kind"],
        label=chosen["label"],
        source=chosen["source"],
        archive=chosen["archive"],
        note=chosen["note"],
        ask=ask(request, timezone.now()),
    )


def _initial(request: HttpRequest, service: Service) -> dict[str, Any]:
    """From ``?image=`` of the list, or ``?again=`` a build that failed."""
    again = request.GET.get("again", "")
    if again.isascii() and again.isdigit() and len(again) < 18:
        build = service.builds.defer("archive").filter(pk=int(again)).first()
        if build is not None:
            return {"kind": build.kind, "label": build.label, "note": build.note, **build.source}
    image = request.GET.get("image", "")[:128]
    label = "" if image.startswith("sha256:") else image[:63]
    usable = [kind.key for kind in kinds(service) if not kind.missing]
    first = "existing" if image else usable[-1]
    return {"kind": first, "image": image, "label": label, "context": "sample"}


def _form(
    request: HttpRequest, service: Service, form: BuildForm, status: int = 200
) -> HttpResponse:
    context = {
        "service": service,
        "form": form,
        "chosen": form["kind"].value(),
        "context": form["context"].value() or "sample",
        "request_id": request.POST.get("request_id") or new_request_id(),
    }
    return render(request, "rollouts/build_form.html", context, status=status)
