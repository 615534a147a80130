"""Turns a posted form into an Ask, and a refusal into a page.

Every view of the dashboard that acts uses these. Nothing here decides whether an action is allowed:
``actions`` does, these only carry the question down and the sentence back up.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from rollouts.actions import Ask
from rollouts.errors import ActionRefused, InvalidInput, NotAllowed
from rollouts.models import Build, Rollout, Service, Stack

REASON_MAX = 300
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}", re.A)
_REVISION = re.compile(r"[0-9]{1,9}", re.A)
View = Callable[..., HttpResponse]
Thing = Rollout | Service | Stack | Build


def ask(request: HttpRequest, now: datetime, *, source: str = "web") -> Ask:
    """Who asks, when and why, from the POST fields reason, request_id and expect (all optional).

    Raises InvalidInput when one of them cannot be what our pages send, NotAllowed for nobody.
    """
    if not isinstance(request.user, User):
        raise NotAllowed("Sign in first.")
    return Ask(
        by=request.user,
        source=source,
        now=now,
        reason=sentence("reason", request.POST.get("reason", "")),
        request_id=_request_id(request.POST.get("request_id", "")),
        expect=_revision(request.POST.get("expect", "")),
    )


def new_request_id() -> str:
    """For the hidden field of a form: the same form sent twice acts once."""
    return uuid4().hex


def sentence(field: str, text: str, most: int = REASON_MAX) -> str:
    """One line that a person wrote, at most ``most`` characters; raises InvalidInput."""
    text = text.strip()
    if len(text) > most:
        raise InvalidInput(field, f"Use at most {most} characters, these are {len(text):,}.")
    return without_controls(field, text)


def without_controls(field: str, text: str) -> str:
    """The text, or InvalidInput when it has characters that nobody can see.

    Control characters break logs and terminals; format characters (right-to-left override,
    zero-width space) make a line look like another one.
    """
    if "\r" in text or "\n" in text:
        raise InvalidInput(field, "Use one line.")
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            raise InvalidInput(field, f"Remove the invisible character U+{ord(character):04X}.")
    return text


def _request_id(text: str) -> str | None:
    if text and not _REQUEST_ID.fullmatch(text):
        raise InvalidInput("request_id", "The request id must be 8 to 64 of A–Z, 0–9, - and _.")
    return text or None


def _revision(text: str) -> int | None:
    if text and not _REVISION.fullmatch(text):
        raise InvalidInput("expect", "The expected revision must be a whole number.")
    return int(text) if text else None


def answers_refusals(view: View) -> View:
    """Give refusals of the view a page: 403, 409 or 422, with the sentence and what is now.

    htmx requests get the same as a fragment. Views with a form catch InvalidInput themselves.
    """

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except NotAllowed as error:
            return refusal(request, error, 403, kwargs)
        except ActionRefused as error:
            return refusal(request, error, 409, kwargs)
        except InvalidInput as error:
            return refusal(request, error, 422, kwargs)

    return wrapped


def refusal(
    request: HttpRequest,
    error: ActionRefused | InvalidInput,
    status: int,
    about: dict[str, Any],
) -> HttpResponse:
    """The page that says why not. ``about``: the arguments of the URL, to read what is now."""
    thing = _thing(about)
    context = {
        "title": {403: "Not allowed", 409: "Not now", 422: "Not possible"}[status],
        "sentence": str(error),
        "now": what_is_now(thing) if thing else "",
        "back": thing.get_absolute_url() if thing else _above(request),
        "status": status,
    }
    fragment = request.headers.get("HX-Request") == "true"
    template = "rollouts/parts/refusal.html" if fragment else "rollouts/refused.html"
    return render(request, template, context, status=status)


def _above(request: HttpRequest) -> str:
    """The list that a page without a thing of its own belongs to."""
    meshes = reverse("infrastructure")
    return meshes if request.path.startswith(meshes) else "/"


def _thing(about: dict[str, Any]) -> Thing | None:
    if "pk" in about:
        return Rollout.objects.select_related("service").filter(pk=about["pk"]).first()
    if "build" in about:
        builds = Build.objects.select_related("service").defer("archive")
        return builds.filter(pk=about["build"]).first()
    if "slug" in about:
        return Service.objects.filter(slug=about["slug"]).first()
    if "name" in about:
        stacks = Stack.objects.select_related("mesh").filter(name=about["name"])
        return stacks.filter(mesh__slug=about.get("mesh", "")).first()
    return None


def what_is_now(thing: Thing) -> str:
    """One sentence of facts, read this moment: where the traffic is, or where the stack is."""
    if isinstance(thing, Build):
        return f"Build #{thing.pk} of {thing.service.slug} {thing.label} is {thing.phase}."
    if isinstance(thing, Stack):
        return f"{thing.name} is {thing.get_phase_display().lower()}."
    service = thing.service if isinstance(thing, Rollout) else thing
    split = split_of(service)
    live = service.live_rollout()
    rolling = f" Rollout #{live.pk} to {live.to_version.label} is in progress." if live else ""
    return f"{service.slug} now: {split or 'no traffic yet'}.{rolling}"


def split_of(service: Service) -> str:
    """The stored weights in words, "1.0 50 %, 0.9 50 %"; empty before the first rollout."""
    labels = {
        str(pk): label
        for pk, label in service.versions.order_by("-number").values_list("pk", "label")
    }
    return ", ".join(
        f"{label} {service.weights[pk]} %"
        for pk, label in labels.items()
        if service.weights.get(pk)
    )


def groups_with(codename: str) -> list[str]:
    """Names of the groups that may do this, for "Ask the … group"."""
    return list(
        Group.objects.filter(
            permissions__codename=codename, permissions__content_type__app_label="rollouts"
        )
        .order_by("name")
        .values_list("name", flat=True)
    )
