"""The services list: what needs a person first. A constant number of queries for a page of 50."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db.models import Case, Exists, F, IntegerField, Max, OuterRef, Q, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from rollouts.domain.state import Phase, Stage
from rollouts.domain.traffic import Tally
from rollouts.live.figures import tally_of, window
from rollouts.live.pill import IDLE, Pill, pill_of
from rollouts.models import Rollout, Route, Service, TrafficBucket, Version
from rollouts.web.query import answers_bad_queries, page_of, without_page

NEEDS, MOVES, RESTS = 0, 1, 2


@dataclass(frozen=True)
class Row:
    """One service. ``split``: (version, percent, role), the new first; None: not measured."""

    service: Service
    pill: Pill
    split: Sequence[tuple[Version, int, str]]
    success: float | None
    p95_ms: float | None
    rollout: Rollout | None
    changed: Route | None

    @property
    def url(self) -> str:
        live = self.rollout is not None and self.rollout.is_live
        return (self.rollout if live and self.rollout else self.service).get_absolute_url()


def _rank() -> Case:
    """Alarms, approvals and pauses, then rollouts under way, then the rest."""
    live = Rollout.objects.live().filter(service=OuterRef("pk"))
    waits = Q(stage=Stage.APPROVAL, phase=Phase.PROGRESSING) | Q(paused=True)
    return Case(
        When(~Q(alarm="") | Exists(live.filter(waits)), then=Value(NEEDS)),
        When(Exists(live), then=Value(MOVES)),
        default=Value(RESTS),
        output_field=IntegerField(),
    )


def by_need() -> QuerySet[Service]:
    """Every service, what needs a person first, then by name."""
    return Service.objects.annotate(rank=_rank()).select_related("mesh").order_by("rank", "slug")


def rows_of(services: Sequence[Service], now: float) -> list[Row]:
    """The rows of these services at ``now`` (Unix time); four queries, however many."""
    newest = _newest_rollouts(services)
    versions = _versions(services)
    tallies = _tallies(services, now)
    changed = {
        route.service_id: route
        for route in Route.objects.filter(service__in=services, generation=F("service__generation"))
    }
    return [
        _row(s, newest.get(s.pk), versions, tallies.get(s.pk, Tally()), changed.get(s.pk))
        for s in services
    ]


def _newest_rollouts(services: Sequence[Service]) -> Mapping[int, Rollout]:
    newest = (
        Rollout.objects.filter(service__in=services)
        .order_by()
        .values("service")
        .annotate(newest=Max("pk"))
        .values("newest")
    )
    found = Rollout.objects.filter(pk__in=newest).select_related("from_version", "to_version")
    return {rollout.service_id: rollout for rollout in found}


def _versions(services: Sequence[Service]) -> Mapping[str, Version]:
    wanted = {int(pk) for service in services for pk in service.weights}
    return {str(version.pk): version for version in Version.objects.filter(pk__in=wanted)}


def _tallies(services: Sequence[Service], now: float) -> Mapping[int, Tally]:
    """What the sampler saw of each service in the last 60 s."""
    seen = window(now, None)
    buckets = TrafficBucket.objects.between(seen.first, seen.last).filter(
        service__in=services, source=TrafficBucket.SAMPLER
    )
    tallies: dict[int, Tally] = {}
    for bucket in buckets:
        tallies.setdefault(bucket.service_id, Tally()).add(tally_of(bucket))
    return tallies


def _row(
    service: Service,
    rollout: Rollout | None,
    versions: Mapping[str, Version],
    tally: Tally,
    changed: Route | None,
) -> Row:
    return Row(
        service=service,
        pill=_pill(service, rollout),
        split=_split(service, rollout, versions),
        success=tally.success,
        p95_ms=tally.p(0.95),
        rollout=rollout,
        changed=changed,
    )


def _pill(service: Service, rollout: Rollout | None) -> Pill:
    if rollout is None:
        return IDLE if service.weights else Pill("queued", "Nothing deployed")
    if rollout.is_live or Phase(rollout.phase) is not Phase.SUCCEEDED:
        return pill_of(rollout, weight=service.weight_of(rollout.to_version_id))
    return IDLE


def _split(
    service: Service, rollout: Rollout | None, versions: Mapping[str, Version]
) -> list[tuple[Version, int, str]]:
    new = rollout.to_version_id if rollout is not None and rollout.is_live else None
    found = [
        (versions[pk], int(percent), "new" if versions[pk].pk == new else "")
        for pk, percent in service.weights.items()
        if percent and pk in versions
    ]
    return sorted(found, key=lambda part: (not part[2], -part[0].number))


def _context(request: HttpRequest) -> dict[str, object]:
    page = page_of(request, by_need())
    ranks = Counter(Service.objects.annotate(rank=_rank()).values_list("rank", flat=True))
    return {
        "page": page,
        "rows": rows_of(list(page), timezone.now().timestamp()),
        "moving": ranks[MOVES],
        "needing": ranks[NEEDS],
        "query": without_page(request),
    }


@require_GET
@answers_bad_queries
def services(request: HttpRequest) -> HttpResponse:
    return render(request, "rollouts/services.html", _context(request))


@require_GET
@answers_bad_queries
def services_parts(request: HttpRequest) -> HttpResponse:
    """The list alone, for an open page that heard that something changed."""
    return render(request, "rollouts/parts/services_parts.html", _context(request))
