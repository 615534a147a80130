"""What every page knows: where it is, how it looks, what its reader may do.

A context processor (``settings.TEMPLATES``). It reads cookies and permissions and changes nothing.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from rollouts.models import Mesh

THEMES = ("auto", "light", "dark")
ZONES = ("utc", "local")


def page(request: HttpRequest) -> dict[str, Any]:
    """theme, tz and keys are printed into <html>: the first paint is right without script."""
    return {
        "environment_name": settings.ENVIRONMENT_NAME,
        "production": SimpleLazyObject(_production),
        "aws_endpoint": settings.AWS_ENDPOINT_URL,
        "aws_fake": settings.AWS_FAKE,
        "theme": _cookie(request, "theme", THEMES),
        "tz": _cookie(request, "tz", ZONES),
        "keys": _cookie(request, "keys", ("on", "off")),
        "can_operate": _may(request, "operate_service"),
        "can_rollback": _may(request, "rollback_rollout"),
        "can_provision": _may(request, "provision_mesh"),
    }


def _production() -> bool:
    return Mesh.objects.filter(production=True).exists()


def _cookie(request: HttpRequest, name: str, allowed: tuple[str, ...]) -> str:
    value = request.COOKIES.get(name, "")
    return value if value in allowed else allowed[0]


def _may(request: HttpRequest, codename: str) -> bool:
    # An error page may be rendered before the authentication middleware has run.
    user = getattr(request, "user", None)
    return user is not None and user.has_perm(f"rollouts.{codename}")
