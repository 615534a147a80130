"""The pages of 403, 404 and 500: what happened, what is live now, what to do.

Named as handlers in ``meshui.urls``.
"""

from __future__ import annotations

import logging

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from rollouts.web.request_id import id_of

logger = logging.getLogger(__name__)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return render(request, "404.html", status=404)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return render(request, "403.html", status=403)


def broken(request: HttpRequest) -> HttpResponse:
    """500. Its template needs no database: that may be what is broken."""
    name = id_of(request)
    logger.error("request_id=%s %s %s failed", name, request.method, request.path)
    # Rendered without the request: context processors may ask the database again.
    return render(None, "500.html", {"request_id": name}, status=500)
