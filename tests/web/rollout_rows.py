"""Rows of one service in the middle of a rollout, for the tests of its page and stream."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.models import Permission, User

from rollouts.domain import plan as plans
from rollouts.domain.traffic import Histogram
from rollouts.models import (
    Acknowledgement,
    Heartbeat,
    Mesh,
    Proxy,
    Rollout,
    Route,
    Service,
    StepRecord,
    Task,
    TrafficBucket,
    Version,
)

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


def person(name: str = "operator", *, may: str = "operate_service rollback_rollout") -> User:
    user = User.objects.create_user(name, password="not-a-secret-1")
    user.user_permissions.set(Permission.objects.filter(codename__in=may.split()))
    return user


def rolling(now: datetime = NOW, **columns: Any) -> Rollout:
    """0.9 is stable, 1.0 has 50 %, two healthy tasks each, both proxies have confirmed."""
    mesh = Mesh.objects.create(slug="local", name="Local")
    service = Service.objects.create(
        mesh=mesh, slug="echo-server", name="echo.local", clock_wall=now.timestamp(), generation=2
    )
    old, new = (
        Version.objects.create(
            service=service, number=n, label=label, digest=label, count=2, keep=2
        )
        for n, label in ((1, "0.9"), (2, "1.0"))
    )
    weights = {str(old.pk): 50, str(new.pk): 50}
    Service.objects.filter(pk=service.pk).update(stable=old, weights=weights)
    ago = now - timedelta(seconds=120)
    fields = {
        "plan": plans.to_json(plans.parse("50:600s, 100:300s")),
        "created_at": ago,
        "phase": "progressing",
        "stage": "hold",
        "left": 300.0,
    }
    rollout = Rollout.objects.create(
        service=service, from_version=old, to_version=new, **{**fields, **columns}
    )
    Route.objects.create(
        service=service,
        generation=1,
        weights={str(old.pk): 100},
        at=now - timedelta(hours=1),
        confirmed_at=now - timedelta(hours=1),
    )
    Route.objects.create(
        service=service,
        generation=2,
        weights=weights,
        at=now - timedelta(seconds=60),
        confirmed_at=now - timedelta(seconds=59.5),
    )
    for node in ("envoy-1", "envoy-2"):
        proxy = Proxy.objects.create(mesh=mesh, node=node, connected=True)
        Acknowledgement.objects.create(proxy=proxy, service=service, generation=2, at=now)
    for version in (old, new):
        for index in range(2):
            task(version, index, now)
    for key, start, end in (("provision", 120, 118), ("start", 118, 60), ("shift-0", 60, 59)):
        record(rollout, key, now - timedelta(seconds=start), now - timedelta(seconds=end))
    record(rollout, "hold-0", now - timedelta(seconds=59), None)
    Heartbeat.objects.create(name="worker", at=now)
    return Rollout.objects.select_related(
        "service__mesh", "service__stable", "from_version", "to_version"
    ).get(pk=rollout.pk)


def task(version: Version, index: int, now: datetime, **columns: Any) -> Task:
    fields = {"state": "running", "healthy": True, "host": "127.0.0.1", "port": 30000 + index}
    return Task.objects.create(
        service=version.service,
        version=version,
        index=index,
        name=f"{version.label}-{index}",
        seen_at=now,
        **{**fields, **columns},
    )


def record(
    rollout: Rollout, key: str, start: datetime, end: datetime | None, outcome: str = "done"
) -> None:
    StepRecord.objects.create(
        rollout=rollout,
        key=key,
        started_at=start,
        ended_at=end,
        outcome=outcome if end else "",
    )


def traffic(
    version: Version | None,
    first: int,
    last: int,
    *,
    requests: int = 5,
    errors: int = 0,
    ms: float = 40,
) -> None:
    """The same second again and again, as the sampler and the proxies write it."""
    assert version is not None
    latency = Histogram()
    latency.record(ms, requests)
    for second in range(first, last + 1):
        for source, times in ((TrafficBucket.SAMPLER, 1), (TrafficBucket.ENVOY, 3)):
            TrafficBucket.objects.create(
                service=version.service,
                version=version,
                source=source,
                second=second,
                requests=requests * times,
                errors=errors,
                latency=latency.to_json(),
            )
