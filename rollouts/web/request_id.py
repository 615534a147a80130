"""Gives each request an id that the person sees on an error page and the operator finds in the log.

Middleware; it must stand first. Ids that the proxy in front sends are kept when they look like one.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from uuid import uuid4

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

HEADER = "X-Request-ID"
_LOOKS_LIKE_ONE = re.compile(r"[A-Za-z0-9_-]{8,64}", re.A)


class RequestId:
    sync_capable = async_capable = True

    def __init__(
        self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]
    ) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        name = id_of(request)
        response = self.get_response(request)
        if isinstance(response, HttpResponseBase):
            response.headers[HEADER] = name
            return response
        return self._later(response, name)

    async def _later(self, response: Awaitable[HttpResponseBase], name: str) -> HttpResponseBase:
        answer = await response
        answer.headers[HEADER] = name
        return answer


def id_of(request: HttpRequest) -> str:
    """The request's id; the same one each time it is asked for."""
    known = request.META.get("meshui.request_id")
    if known is None:
        given = request.headers.get(HEADER, "")
        known = given if _LOOKS_LIKE_ONE.fullmatch(given) else uuid4().hex
        request.META["meshui.request_id"] = known
    return str(known)
