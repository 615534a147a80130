"""Reads the filters that a list page takes from its URL; a wrong one is a 400 with its name.

Used by the list pages. The URL is the only place where a filter lives, so that it can be shared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from functools import wraps
from typing import Any, TypeVar

from django.core.paginator import Page, Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render

from rollouts.errors import InvalidInput
from rollouts.web.asks import without_controls

PAGE = 50
PAGES_MOST = 1_000_000
M = TypeVar("M", bound=Model)
View = Callable[..., HttpResponseBase]


def word(request: HttpRequest, name: str, most: int = 150) -> str:
    """The parameter, or "" without it; raises InvalidInput when nobody can have meant it."""
    value = request.GET.get(name, "").strip()
    if len(value) > most:
        raise InvalidInput(name, f"Use at most {most} characters.")
    return without_controls(name, value)


def one_of(request: HttpRequest, name: str, allowed: Collection[str]) -> str:
    value = word(request, name)
    if value and value not in allowed:
        raise InvalidInput(name, f"Use one of {', '.join(allowed)}.")
    return value


def day(request: HttpRequest, name: str) -> datetime | None:
    """Midnight UTC of a day written as 2026-11-24; None without the parameter."""
    value = word(request, name)
    if not value:
        return None
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidInput(name, "Write a day as in 2026-11-24.") from None


def page_of(request: HttpRequest, rows: QuerySet[M]) -> Page[M]:
    """Page ``page`` (from 1) of the rows; one behind the last is the last."""
    value = word(request, "page") or "1"
    if not re.fullmatch(r"[0-9]{1,6}", value, re.A) or value.strip("0") == "":
        raise InvalidInput("page", f"Use a whole number from 1 to {PAGES_MOST - 1:,}.")
    return Paginator(rows, PAGE).get_page(int(value))


def without_page(request: HttpRequest) -> str:
    """The present filters as a query string that ends ready for ``page=``."""
    query = request.GET.copy()
    query.pop("page", None)
    query.pop("format", None)
    return f"{query.urlencode()}&" if query else ""


def answers_bad_queries(view: View) -> View:
    """A wrong parameter becomes a page that names it (400), never a 500."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except InvalidInput as error:
            context = {
                "title": "This address cannot be read",
                "sentence": f"{error.field}: {error}",
                "back": request.path,
            }
            return render(request, "rollouts/refused.html", context, status=400)

    return wrapped
