"""The sample services of a local mesh: ``echo_server`` 0.9 behind ``echo_client``.

Creates their rows and first rollouts; knows neither platforms nor routers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction

from rollouts.domain.plan import ALL_AT_ONCE
from rollouts.models import Mesh, Rollout, Service, Version

SAMPLE_PATH = "/?name=Yizumi"


@dataclass(frozen=True)
class Spec:
    slug: str
    about: str
    columns: Mapping[str, Any]
    labels: tuple[str, ...]  # the first is deployed
    module: str
    environment: Mapping[str, str] = field(default_factory=dict)


ECHO_SERVER = Spec(
    slug="echo-server",
    about="gRPC, two tasks of 0.9; 1.0 is there to be deployed",
    columns={
        "name": "echo_server.echo.local",
        "protocol": "grpc",
        "health_kind": "grpc",
        "sample_path": SAMPLE_PATH,
        "sample_rate": 10.0,
    },
    labels=("0.9", "1.0"),
    module="echo_services.server",
)
ECHO_CLIENT = Spec(
    slug="echo-client",
    about="HTTP to gRPC, two tasks, takes what comes to the public endpoint",
    columns={
        "name": "echo_client.echo.local",
        "protocol": "http",
        "public_prefix": "/",
        "health_kind": "tcp",
        "sample_path": "",
        "sample_rate": 0.0,
        "sample_pattern": "",
    },
    labels=("1.0",),
    module="echo_services.client",
    environment={"SERVER_AUTHORITY": "echo_server.echo.local"},
)


@transaction.atomic
def ensure(mesh: Mesh, spec: Spec, now: datetime) -> None:
    """Make sure that the service, its versions and a first rollout are there; idempotent."""
    service, _ = Service.objects.get_or_create(
        slug=spec.slug, defaults={"mesh": mesh, "wake_at": now, **spec.columns}
    )
    for label in spec.labels:
        if not service.versions.filter(label=label).exists():
            Version.objects.add(service, label=label, **_build(mesh, spec, label))
    if service.stable_id is None and service.live_rollout() is None:
        first = service.versions.get(label=spec.labels[0])
        Rollout.objects.begin(service, first, plan=ALL_AT_ONCE, plan_name="First deploy", now=now)


def _build(mesh: Mesh, spec: Spec, label: str) -> dict[str, Any]:
    environment = {**spec.environment, "HOST": "127.0.0.1"}
    if spec is ECHO_CLIENT:
        given = str(mesh.settings.get("egress", f"127.0.0.1:{settings.EGRESS_PORT}"))
        environment["SERVER_ENDPOINT"] = given
    command = ["{python}", "-m", spec.module]
    build = json.dumps({"command": command, "environment": environment, "label": label})
    return {
        "command": command,
        "environment": environment,
        "digest": "sha256:" + hashlib.sha256(build.encode()).hexdigest(),
        "note": spec.about if label == spec.labels[0] else "",
    }


def missing(mesh: Mesh, spec: Spec) -> str:
    """Why the service does not serve yet, as a sentence; empty when it does."""
    service = Service.objects.filter(mesh=mesh, slug=spec.slug).first()
    if service is None:
        return f"{spec.slug} is not registered yet."
    if service.stable_id is not None:
        return ""
    rollout = service.rollouts.first()
    if rollout is None or rollout.is_live:
        return service.waiting or f"{spec.slug} {spec.labels[0]} is starting."
    return rollout.reason or f"{spec.slug} {spec.labels[0]} did not start."
