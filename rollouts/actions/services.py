"""What a person may do with services, versions and stacks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q

from rollouts.actions.ask import Ask, permit, record, repeated, validated
from rollouts.actions.rollouts import OPERATE
from rollouts.errors import ActionRefused, InvalidInput
from rollouts.models import Mesh, Rollout, Service, Stack, Version

PROVISION = "rollouts.provision_mesh"
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
    validated(service)
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
    validated(kept)
    with transaction.atomic():
        Service.objects.filter(pk=service.pk).update(**changed)
        Service.objects.wake(service.pk, ask.now)
        record(ask, "change-service", f"changed {', '.join(sorted(changed))}", mesh=kept.mesh,
               service=kept, before=before, after=dict(changed))  # fmt: skip


def _known(fields: Mapping[str, Any]) -> None:
    unknown = sorted(fields.keys() - SETTABLE)
    if unknown:
        raise InvalidInput(unknown[0], f"{unknown[0]} is not a setting of a service.")


def digest(command: list[str], environment: Mapping[str, str], image: str) -> str:
    """What makes a build the same build: its image, or its command and environment."""
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


def request_provision(stack: Stack, *, ask: Ask) -> None:
    """Ask for the stack to be there. Raises ActionRefused when it is, or is being made."""
    permit(ask, PROVISION)
    if repeated(ask, "provision") is not None:
        return
    settled = Q(wanted=Stack.PRESENT) & ~Q(phase="failed")
    busy = settled | Q(phase="deleting")
    _stack_wish(stack, ask, Stack.PRESENT, busy, "provision", "asked to create the stack")


def request_deprovision(stack: Stack, *, typed_name: str, ask: Ask) -> None:
    """Ask for the stack to be destroyed. Refused while a rollout runs in its mesh."""
    permit(ask, PROVISION)
    if repeated(ask, "deprovision") is not None:
        return
    if typed_name != stack.name:
        raise InvalidInput("typed_name", f"Type {stack.name} to destroy it.")
    live = Rollout.objects.live().filter(service__mesh=stack.mesh).select_related("service").first()
    if live is not None:
        raise ActionRefused(f"Rollout #{live.pk} of {live.service.slug} is running: end it first.")
    busy = Q(wanted=Stack.ABSENT) & ~Q(phase="failed")
    _stack_wish(stack, ask, Stack.ABSENT, busy, "deprovision", "asked to destroy the stack")


@transaction.atomic
def _stack_wish(stack: Stack, ask: Ask, wanted: str, busy: Q, verb: str, text: str) -> None:
    asked = (
        Stack.objects.filter(pk=stack.pk)
        .exclude(busy)
        .update(wanted=wanted, requested_at=ask.now, attempt=F("attempt") + 1, wake_at=ask.now)
    )
    if not asked:
        now = Stack.objects.get(pk=stack.pk)
        raise ActionRefused(f"The stack is {now.get_phase_display().lower()} already.")
    record(ask, verb, f"{text} {stack.name}", mesh=stack.mesh)
