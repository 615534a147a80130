"""What a person may do with services and versions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction

from rollouts.actions.ask import Ask, permit, record, repeated, validated
from rollouts.actions.rollouts import OPERATE
from rollouts.errors import ActionRefused, InvalidInput
from rollouts.models import Mesh, Service, Version
from rollouts.routers.base import check_settings, router

SETTABLE = frozenset(
    {
        *("slug", "name", "protocol", "public_prefix", "tasks", "timeout_s", "idempotent"),
        *("health_kind", "health_path", "sample_path", "sample_rate", "sample_pattern"),
        *("default_plan", "start_deadline_s", "scale_down_delay_s", "abort_delay_s"),
        *("drain_s", "keep_warm"),
    }
)
FIXED = frozenset({"slug", "name", "protocol"})  # callers and proxies know the service by these


def add_service(mesh: Mesh, fields: Mapping[str, Any], *, ask: Ask) -> Service:
    """Register a service; it takes no requests before its first deploy. Raises InvalidInput."""
    permit(ask, OPERATE)
    if (event := repeated(ask, "add-service")) is not None and event.service is not None:
        return event.service
    _known(fields)
    service = Service(mesh=mesh, wake_at=ask.now, **fields)
    _name_is_free(service)
    validated(service)
    check_settings(service, router(mesh.router).caps)
    with transaction.atomic():
        service.save()
        record(ask, "add-service", f"added the service {service.slug}", mesh=mesh, service=service)
    return service


def change_service(service: Service, fields: Mapping[str, Any], *, ask: Ask) -> None:
    """Change settings of a service. Raises InvalidInput; ActionRefused while a rollout runs."""
    permit(ask, OPERATE)
    if repeated(ask, "change-service") is not None:
        return
    _known(fields)
    kept = Service.objects.get(pk=service.pk)
    changed = {name: value for name, value in fields.items() if getattr(kept, name) != value}
    if not changed:
        return
    if changed.keys() & FIXED and (kept.stable_id or kept.live_rollout()):
        name = min(changed.keys() & FIXED)
        raise InvalidInput(name, f"The {name} cannot change while the service runs.")
    before = {name: getattr(kept, name) for name in changed}
    for name, value in changed.items():
        setattr(kept, name, value)
    _name_is_free(kept)
    validated(kept)
    if changed.keys() & {"default_plan", "keep_warm"}:
        check_settings(kept, router(kept.mesh.router).caps)
    with transaction.atomic():
        Service.objects.filter(pk=service.pk).update(**changed)
        Service.objects.wake(service.pk, ask.now)
        record(ask, "change-service", f"changed {', '.join(sorted(changed))}", mesh=kept.mesh,
               service=kept, before=before, after=dict(changed))  # fmt: skip


def _name_is_free(service: Service) -> None:
    others = Service.objects.filter(mesh=service.mesh, name=service.name).exclude(pk=service.pk)
    if others.exists():
        raise InvalidInput("name", f"{service.mesh.slug} has a service {service.name} already.")


def _known(fields: Mapping[str, Any]) -> None:
    unknown = sorted(fields.keys() - SETTABLE)
    if unknown:
        raise InvalidInput(unknown[0], f"{unknown[0]} is not a setting of a service.")


def digest(command: list[str], environment: Mapping[str, str], image: str) -> str:
    """What makes a build the same build: its image, or its command and environment."""
    if "@sha256:" in image:
        return image.rpartition("@")[2]
    build = {"command": command, "environment": dict(environment), "image": image}
    text = json.dumps(build, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def add_version(
    service: Service,
    *,
    label: str,
    command: list[str],
    environment: Mapping[str, str],
    ask: Ask,
    image: str = "",
    note: str = "",
) -> Version:
    """Register an immutable build. Raises InvalidInput when a field is wrong or the label taken."""
    permit(ask, OPERATE)
    if repeated(ask, "add-version") is not None:
        return service.versions.get(label=label)
    if not command and not image:
        raise InvalidInput("command", "Give a command to run, or an image.")
    if service.mesh.platform == "ecs" and "@sha256:" not in image:
        raise InvalidInput("image", "Give an image by its digest, as in repository@sha256:…: "
                           "a tag can be moved to another image.")  # fmt: skip
    try:
        with transaction.atomic():
            version = Version.objects.add(
                service, label=label, command=list(command), environment=dict(environment),
                image=image, note=note, created_by=ask.by,
                digest=digest(list(command), environment, image),
            )  # fmt: skip
            record(ask, "add-version", f"added the version {label}", mesh=service.mesh,
                   service=service)  # fmt: skip
    except IntegrityError as error:
        raise InvalidInput("label", f"{service.slug} has a version {label} already.") from error
    return version


def set_automatic_deploys(service: Service, on: bool, *, ask: Ask) -> None:
    """Allow or refuse deploys by token, as from CI."""
    permit(ask, OPERATE)
    if repeated(ask, "automatic") is not None:
        return
    word = "on" if on else "off"
    with transaction.atomic():
        why = "" if on else f"Turned off by {ask.name}."
        if not Service.objects.filter(pk=service.pk, automatic_deploys=not on).update(
            automatic_deploys=on, automatic_why=why
        ):
            raise ActionRefused(f"Automatic deploys are {word} already.")
        record(ask, "automatic", f"turned automatic deploys {word}", mesh=service.mesh,
               service=service)  # fmt: skip
