"""The sampler's database: reads which services to ask, writes what was seen, prunes.

Called by ``loop`` in its writer thread (and ``prune`` by a Celery task). One short transaction per
write; the sampler is the only writer of TrafficBucket and Sample. Nothing here waits longer than
``WAIT_MS`` for a lock: the loop keeps what could not be stored and asks again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import F, QuerySet

from rollouts.domain.traffic import Histogram, Tally
from rollouts.models import Heartbeat, Sample, Service, TrafficBucket, Version
from rollouts.sampler.ledger import Batch, Key, Row

# Also how long a locked database may hold up the end of the process, twice.
WAIT_MS = 250
LONGEST_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Wanted:
    """One service to ask; equal when nothing that matters to the sampler has changed."""

    pk: int
    slug: str
    public_url: str
    path: str
    rate: float
    pattern: str
    timeout_s: float


@dataclass(frozen=True)
class Plan:
    """What to ask this second. ``labels``: service → label → version; ``targets``: by cluster.

    ``admins``: "host:port" of the admin endpoint of each Envoy whose counters are read.
    """

    services: tuple[Wanted, ...] = ()
    labels: dict[int, dict[str, int]] = field(default_factory=dict)
    admins: frozenset[str] = frozenset()
    targets: dict[str, tuple[int, int, str]] = field(default_factory=dict)  # service, version, kind


def connect() -> None:
    """Open this thread's connection, if it is not, so that it gives up soon at a lock."""
    if connection.connection is not None:
        return
    sqlite = connection.vendor == "sqlite"
    with connection.cursor() as cursor:
        if sqlite:
            cursor.execute(f"PRAGMA busy_timeout = {WAIT_MS}")
        else:
            cursor.execute(f"SET lock_timeout = {WAIT_MS}")
            cursor.execute(f"SET statement_timeout = {4 * WAIT_MS}")


class Plans:
    """Reads the plan again and again, and builds it anew only when a row of it has changed."""

    def __init__(self) -> None:
        self._rows: tuple[list[Any], list[Any]] = [], []
        self._plan = Plan()

    def read(self) -> Plan:
        """Services, versions and proxies as they are now. Raises django.db.Error."""
        connect()
        rows = _fetch(_services_sql()), _fetch(_versions_sql())
        if rows != self._rows:
            self._rows, self._plan = rows, _plan(*rows)
        return self._plan


# Django builds the SQL of these two once: building takes five times as long as asking.


@cache
def _services_sql() -> tuple[str, tuple[Any, ...]]:
    return _sql(
        Service.objects.order_by("pk").values_list(
            "pk",
            "slug",
            "protocol",
            "mesh__public_url",
            "mesh__settings",
            "sample_path",
            "sample_rate",
            "sample_pattern",
            "timeout_s",
        )
    )


@cache
def _versions_sql() -> tuple[str, tuple[Any, ...]]:
    return _sql(Version.objects.order_by("pk").values_list("pk", "service_id", "label"))


def _sql(rows: QuerySet[Any, Any]) -> tuple[str, tuple[Any, ...]]:
    sql, parameters = rows.query.sql_with_params()
    return sql, tuple(parameters)


def _fetch(query: tuple[str, tuple[Any, ...]]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(*query)
        return list(cursor.fetchall())


def _plan(services: list[Any], versions: list[Any]) -> Plan:
    kinds = {row[0]: (row[1], row[2]) for row in services}
    labels: dict[int, dict[str, int]] = {pk: {} for pk in kinds}
    targets: dict[str, tuple[int, int, str]] = {}
    for pk, service, label in versions:
        if service in kinds:  # It may have come between the two queries.
            slug, protocol = kinds[service]
            labels[service][label] = pk
            targets[f"{slug}--{pk}"] = (service, pk, protocol)
    wanted = [_wanted(row) for row in services]
    admins = frozenset(address for row in services if row[3] for address in _admins(row[4]))
    return Plan(tuple(each for each in wanted if each), labels, admins, targets)


def _wanted(row: tuple[Any, ...]) -> Wanted | None:
    pk, slug, _, public_url, _, path, rate, pattern, timeout_s = row
    if not public_url or not path or rate <= 0:
        return None
    return Wanted(pk, slug, public_url, path, rate, pattern, min(timeout_s + 1, LONGEST_TIMEOUT_S))


def _admins(text: str) -> list[str]:
    options = json.loads(text)  # As text from both databases: no model has read it.
    addresses = options.get("admin") if isinstance(options, dict) else None
    return [str(each) for each in addresses] if isinstance(addresses, list) else []


def write(batch: Batch, now: datetime) -> set[int]:
    """Store it all or nothing, beat, and return the services that have news.

    Requests of services and versions that were deleted meanwhile are left out. Raises
    django.db.Error.
    """
    connect()
    try:
        _write(batch, now)
    except IntegrityError:
        batch = _of_what_exists(batch)
        _write(batch, now)
    return {key.service for key in batch.tallies}


@transaction.atomic
def _write(batch: Batch, now: datetime) -> None:
    _store_tallies(batch.tallies)
    if batch.rows:
        Sample.objects.bulk_create([_sample(row) for row in batch.rows])
    if not Heartbeat.objects.filter(name="sampler").update(at=now):
        Heartbeat.objects.create(name="sampler", at=now)


def _of_what_exists(batch: Batch) -> Batch:
    services = set(Service.objects.values_list("pk", flat=True))
    versions = {None, *Version.objects.values_list("pk", flat=True)}

    def exists(of: Key | Row) -> bool:
        return of.service in services and of.version in versions

    return Batch(
        {key: tally for key, tally in batch.tallies.items() if exists(key)},
        [row for row in batch.rows if exists(row)],
    )


def _store_tallies(tallies: dict[Key, Tally]) -> None:
    if not tallies:
        return
    seconds = {key.second for key in tallies}
    stored = {
        Key(row.service_id, row.source, row.second, row.version_id): row
        for row in TrafficBucket.objects.filter(second__in=seconds)
    }
    new = [_bucket(key, tally) for key, tally in tallies.items() if key not in stored]
    TrafficBucket.objects.bulk_create(new)
    for key, tally in tallies.items():
        if key in stored:  # A late answer: it belongs to the second in which it was due.
            _add(stored[key], tally)


def _bucket(key: Key, tally: Tally) -> TrafficBucket:
    return TrafficBucket(
        service_id=key.service,
        version_id=key.version,
        source=key.source,
        second=key.second,
        requests=tally.requests,
        errors=tally.errors,
        latency=tally.latency.to_json(),
    )


def _add(row: TrafficBucket, tally: Tally) -> None:
    latency = Histogram.from_json(row.latency)
    latency.merge(tally.latency)
    TrafficBucket.objects.filter(pk=row.pk).update(
        requests=F("requests") + tally.requests,
        errors=F("errors") + tally.errors,
        latency=latency.to_json(),
    )


def _sample(row: Row) -> Sample:
    return Sample(
        service_id=row.service,
        version_id=row.version,
        at=datetime.fromtimestamp(row.at, UTC),
        ok=row.ok,
        status=row.status,
        latency_ms=row.latency_ms,
        message=row.message,
    )


def prune(now: datetime) -> tuple[int, int]:
    """Delete samples beyond SAMPLE_KEEP per service and old buckets; returns how many of each."""
    samples = 0
    for service in Service.objects.values_list("pk", flat=True):
        kept = Sample.objects.filter(service=service).order_by("-id")
        edge = kept.values_list("pk", flat=True)[settings.SAMPLE_KEEP : settings.SAMPLE_KEEP + 1]
        if oldest := next(iter(edge), None):
            samples += Sample.objects.filter(service=service, pk__lte=oldest).delete()[0]
    old = int(now.timestamp()) - settings.BUCKET_KEEP_S
    buckets = TrafficBucket.objects.filter(second__lt=old).delete()[0]
    return samples, buckets
