"""What the platform itself says about a service, fetched on demand: on ECS, its service events.

A view of ``web.urls``: asked for by a click, because every look is a call to AWS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from rollouts.errors import PlatformError
from rollouts.models import Mesh, Service
from rollouts.platforms.base import platform

SHOWN = 100
Said = Sequence[Any]  # (when, text), newest first


def teller(mesh: Mesh) -> Callable[[Service], Said] | None:
    """How to ask the mesh's platform; None when it says nothing of its own."""
    try:
        found: Callable[[Service], Said] | None = getattr(platform(mesh.platform), "messages", None)
    except PlatformError:
        return None
    return found


@never_cache
@require_GET
def messages(request: HttpRequest, slug: str) -> HttpResponse:
    service = get_object_or_404(Service.objects.select_related("mesh"), slug=slug)
    said, problem = _ask(service)
    context = {"service": service, "said": said, "problem": problem}
    part = request.headers.get("HX-Request") == "true"
    template = "rollouts/parts/messages.html" if part else "rollouts/messages.html"
    return render(request, template, context)


def _ask(service: Service) -> tuple[Said, str]:
    """The messages, or none and the sentence why there are none."""
    tell = teller(service.mesh)
    if tell is None:
        return (), f"The platform {service.mesh.platform} says nothing of its own about services."
    try:
        return list(tell(service))[:SHOWN], ""
    except PlatformError as error:
        return (), str(error)
