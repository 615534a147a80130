"""What was: every rollout, and who did what. Filters live in the URL; both lists export as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_GET

from rollouts.domain.state import Phase
from rollouts.live.pill import pill_of
from rollouts.models import Event, Rollout, Service
from rollouts.web.csv import ROWS_MOST, csv_file
from rollouts.web.query import answers_bad_queries, day, one_of, page_of, without_page, word

STATUSES = {
    "live": "Under way",
    Phase.SUCCEEDED.value: "Complete",
    Phase.ROLLED_BACK.value: "Rolled back",
    Phase.FAILED.value: "Failed",
}


def filtered_rollouts(request: HttpRequest) -> QuerySet[Rollout]:
    """Newest first, by service, status, by (user name) and since (a day); raises InvalidInput."""
    rows = Rollout.objects.select_related("service", "from_version", "to_version", "started_by")
    if slug := word(request, "service", 40):
        rows = rows.filter(service__slug=slug)
    if status := one_of(request, "status", STATUSES):
        rows = rows.live() if status == "live" else rows.filter(phase=status)
    if by := word(request, "by"):
        rows = rows.filter(started_by__username=by)
    if since := day(request, "since"):
        rows = rows.filter(created_at__gte=since)
    return rows.order_by("-pk")


@require_GET
@answers_bad_queries
def history(request: HttpRequest) -> HttpResponseBase:
    rows = filtered_rollouts(request)
    if one_of(request, "format", ("csv",)):
        return csv_file("rollouts.csv", _rollout_cells(rows))
    page = page_of(request, rows)
    found = [(r, pill_of(r, weight=r.service.weight_of(r.to_version_id))) for r in page]
    context = {
        "page": page,
        "rows": found,
        "statuses": STATUSES,
        "services": Service.objects.order_by("slug").values_list("slug", flat=True)[:500],
        "query": without_page(request),
    }
    return render(request, "rollouts/history.html", context)


def _rollout_cells(rows: QuerySet[Rollout]) -> Iterator[list[object]]:
    yield [
        "id",
        "service",
        "from",
        "to",
        "plan",
        "status",
        "started",
        "by",
        "finished",
        "note",
        "reason",
    ]
    for r in rows[:ROWS_MOST].iterator(chunk_size=500):
        yield [
            r.pk,
            r.service.slug,
            r.from_version.label if r.from_version else "",
            r.to_version.label,
            r.plan_name,
            r.phase,
            _stamp(r.created_at),
            r.started_by.get_username() if r.started_by else "",
            _stamp(r.finished_at),
            r.note,
            r.reason,
        ]


def filtered_events(request: HttpRequest) -> QuerySet[Event]:
    """Newest first, by actor, verb and object: a service's name, or # and a rollout's number."""
    rows = Event.objects.select_related("service", "rollout", "mesh")
    if actor := word(request, "actor"):
        rows = rows.filter(actor=actor)
    if verb := word(request, "verb", 30):
        rows = rows.filter(verb=verb)
    if thing := word(request, "object", 60):
        number = thing.removeprefix("#")
        is_number = number.isascii() and number.isdigit() and len(number) < 19
        rows = rows.filter(
            Q(rollout_id=int(number)) if is_number else Q(service__slug=thing) | Q(mesh__slug=thing)
        )
    return rows.order_by("-pk")


@require_GET
@answers_bad_queries
def audit(request: HttpRequest) -> HttpResponseBase:
    rows = filtered_events(request)
    if one_of(request, "format", ("csv",)):
        return csv_file("audit.csv", _event_cells(rows))
    context = {"page": page_of(request, rows), "query": without_page(request)}
    return render(request, "rollouts/audit.html", context)


def _event_cells(rows: QuerySet[Event]) -> Iterator[list[object]]:
    yield ["at", "actor", "source", "verb", "service", "rollout", "text", "reason", "severity"]
    for e in rows[:ROWS_MOST].iterator(chunk_size=500):
        service = e.service.slug if e.service else ""
        yield [
            _stamp(e.at),
            e.actor,
            e.source,
            e.verb,
            service,
            e.rollout_id,
            e.text,
            e.reason,
            e.severity,
        ]


def _stamp(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment else ""
