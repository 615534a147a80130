"""Where the images of a service are looked for, on platforms that run images.

The pages of images belong to ``web.images``; an installation without them has no such address.
"""

from __future__ import annotations

from django.urls import NoReverseMatch, reverse

from rollouts.models import Service


def images_url(service: Service) -> str:
    """Empty where the platform runs no images."""
    if service.mesh.platform != "ecs":
        return ""
    try:
        return reverse("images", args=[service.slug])
    except NoReverseMatch:
        return ""
