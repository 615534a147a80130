"""Adding, changing and forgetting a mesh on AWS. Nothing on AWS is touched by these pages.

Views of ``web.urls``: they read the form and pass wishes on through ``doors``.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from rollouts import actions, doors
from rollouts.actions.ask import GROUPS
from rollouts.actions.stacks import PROVISION, STACKS
from rollouts.errors import InvalidInput, NotAllowed
from rollouts.models import Mesh
from rollouts.web.asks import answers_refusals, ask, groups_with, new_request_id
from rollouts.web.forms_mesh import MeshForm


def _may_provision(request: HttpRequest) -> None:
    """Forms are for those who may send them; the POST is checked again by the action."""
    if request.method != "POST" and not request.user.has_perm(PROVISION):
        raise NotAllowed(f"Your account may look, not act. Ask the {GROUPS[PROVISION]} group.")


def _on_aws(slug: str) -> Mesh:
    """The local mesh has nothing to set here."""
    found = get_object_or_404(Mesh, slug=slug)
    if found.platform not in STACKS:
        raise Http404("This mesh has no settings here.")
    return found


def place(mesh: Mesh) -> str:
    """Where the mesh stands on the infrastructure page."""
    return f"{reverse('infrastructure')}#mesh-{mesh.slug}"


@require_http_methods(["GET", "HEAD", "POST"])
@answers_refusals
def add(request: HttpRequest) -> HttpResponse:
    _may_provision(request)
    form = MeshForm(None, request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        try:
            made = doors.act(actions.add_mesh, form.columns(), ask=ask(request, timezone.now()))
            messages.info(request, f"{made.name} is registered. Nothing is made on AWS yet.")
            return redirect(place(made))
        except InvalidInput as error:
            _blame(error, form)
    return _form(request, form, None)


@require_http_methods(["GET", "HEAD", "POST"])
@answers_refusals
def edit(request: HttpRequest, mesh: str) -> HttpResponse:
    _may_provision(request)
    found = _on_aws(mesh)
    form = MeshForm(found, request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        try:
            stale = form.stacks_to_update()
            doors.act(actions.change_mesh, found, form.columns(), ask=ask(request, timezone.now()))
            if stale:
                messages.warning(request, f"Saved. {follow(stale)}")
            return redirect(place(found))
        except InvalidInput as error:
            _blame(error, form)
    return _form(request, form, found)


def follow(stacks: list[str]) -> str:
    """Which stacks do not know of a change yet, and what to do."""
    names = " and ".join([", ".join(stacks[:-1]), stacks[-1]] if len(stacks) > 1 else stacks)
    verb, them = ("still have", "their") if len(stacks) > 1 else ("still has", "its")
    return f"{names} {verb} the old settings: work out {them} changes and apply them."


def _form(request: HttpRequest, form: MeshForm, mesh: Mesh | None) -> HttpResponse:
    context = {
        "form": form,
        "mesh": mesh,
        "request_id": request.POST.get("request_id") or new_request_id(),
    }
    return render(request, "rollouts/mesh_form.html", context, status=422 if form.errors else 200)


def _blame(error: InvalidInput, form: forms.BaseForm) -> None:
    """Put the sentence next to the field it names, else on top."""
    form.add_error(error.field if error.field in form.fields else None, str(error))


@require_http_methods(["GET", "HEAD", "POST"])
@answers_refusals
def delete(request: HttpRequest, mesh: str) -> HttpResponse:
    """GET says what is lost, POST with the typed name asks for it."""
    found = _on_aws(mesh)
    context: dict[str, Any] = {}
    if request.method == "POST":
        typed = request.POST.get("typed_name", "")[:200]
        try:
            asked = ask(request, timezone.now())
            doors.act(actions.delete_mesh, found, typed_name=typed, ask=asked)
            messages.info(request, f"{found.name} is forgotten.")
            return redirect("infrastructure")
        except InvalidInput as error:
            context["wrong"] = str(error)
    context |= {
        "mesh": found,
        "back": place(found),
        "services": found.services.all(),
        "there": list(found.stacks.exclude(phase="absent")),
        "request_id": new_request_id(),
        "may": request.user.has_perm(PROVISION),
        "groups": groups_with("provision_mesh"),
    }
    return render(
        request, "rollouts/mesh_delete.html", context, status=422 if "wrong" in context else 200
    )
