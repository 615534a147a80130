"""The sampler's database: reads which services to ask, writes what was seen, prunes.

Called by ``loop`` in its writer thread (and ``prune`` by a Celery task). One short transaction per
write; the sampler is the only writer of TrafficBucket and Sample. Waits at most half a second for
a locked SQLite: the loop keeps what could not be stored and asks again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F

from rollouts.domain.traffic import Histogram, Tally
from rollouts.models import Heartbeat, Mesh, Sample, Service, TrafficBucket, Version
from rollouts.sampler.ledger import Batch, Key, Row

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
class Admin:
    """The Envoys of one mesh that count its traffic: "host:port" of each admin endpoint."""

    mesh: int
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What to ask this second. ``labels``: service → label → version; ``targets``: by cluster."""

    services: tuple[Wanted, ...]
    labels: dict[int, dict[str, int]]
    admins: tuple[Admin, ...]
    targets: dict[str, tuple[int, int, str]]  # cluster → service, version, protocol


def short_waits() -> None:
    """Make SQLite give up after half a second, so that the end of the process is not delayed."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 500")


def plan() -> Plan:
    """Services, versions and proxies as they are now."""
    short_waits()
    services = list(Service.objects.select_related("mesh"))
    labels: dict[int, dict[str, int]] = {each.pk: {} for each in services}
    targets: dict[str, tuple[int, int, str]] = {}
    by_pk = {each.pk: each for each in services}
    for pk, service_pk, label in Version.objects.values_list("pk", "service_id", "label"):
        if service := by_pk.get(service_pk):
            labels[service_pk][label] = pk
            targets[f"{service.slug}--{pk}"] = (service_pk, pk, service.protocol)
    wanted = tuple(_wanted(each) for each in services if _is_asked(each))
    return Plan(wanted, labels, tuple(_admins()), targets)


def _is_asked(service: Service) -> bool:
    return bool(service.mesh.public_url and service.sample_path and service.sample_rate > 0)


def _wanted(service: Service) -> Wanted:
    return Wanted(
        pk=service.pk,
        slug=service.slug,
        public_url=service.mesh.public_url,
        path=service.sample_path,
        rate=service.sample_rate,
        pattern=service.sample_pattern,
        timeout_s=min(service.timeout_s + 1, LONGEST_TIMEOUT_S),
    )


def _admins() -> list[Admin]:
    rows = Mesh.objects.exclude(public_url="").values_list("pk", "settings")
    found = []
    for pk, options in rows:
        addresses = options.get("admin") if isinstance(options, dict) else None
        if isinstance(addresses, list) and addresses:
            found.append(Admin(pk, tuple(str(address) for address in addresses)))
    return found


def write(batch: Batch, now: datetime) -> set[int]:
    """Store it all or nothing, beat, and return the services that have news.

    Requests of services and versions that were deleted meanwhile are left out. Raises
    django.db.Error.
    """
    short_waits()
    with transaction.atomic():
        services = set(Service.objects.values_list("pk", flat=True))
        versions = {None, *Version.objects.values_list("pk", flat=True)}
        tallies = {
            key: tally
            for key, tally in batch.tallies.items()
            if key.service in services and key.version in versions
        }
        rows = [r for r in batch.rows if r.service in services and r.version in versions]
        _store_tallies(tallies)
        Sample.objects.bulk_create([_sample(row) for row in rows])
        Heartbeat.objects.update_or_create(name="sampler", defaults={"at": now})
    return {key.service for key in tallies}


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
