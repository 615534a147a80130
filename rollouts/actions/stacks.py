"""What a person may do with meshes and their stacks: wishes; ticks create and destroy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q

from rollouts.actions.ask import Ask, permit, record, repeated, validated
from rollouts.errors import ActionRefused, InvalidInput, Stale
from rollouts.models import Mesh, Rollout, Stack
from rollouts.stacks.base import provisioner

PROVISION = "rollouts.provision_mesh"
CONTINUE = "continue"  # in place of a change set: go on with a rollback that failed
STACKS = {"ecs": ("infra", "mesh", "app")}  # in the order in which one needs the other
AWS_SLUG_MOST = 20  # load balancers and target groups have 32 characters for all of their name


# --- meshes


def add_mesh(fields: Mapping[str, Any], *, ask: Ask) -> Mesh:
    """Register a mesh and its stacks; nothing is created yet. Raises InvalidInput.

    ``fields``: slug, name, platform, router, production, settings (a mapping).
    """
    permit(ask, PROVISION)
    if (event := repeated(ask, "add-mesh")) is not None and event.mesh is not None:
        return event.mesh
    mesh = Mesh(**fields)
    if settings.AWS_FAKE:
        mesh.settings = {**mesh.settings, "fake": True}
    if mesh.platform not in STACKS:
        raise InvalidInput("platform", f"A mesh of the platform {mesh.platform} cannot be added.")
    if len(mesh.slug) > AWS_SLUG_MOST:
        raise InvalidInput(
            "slug", f"Use at most {AWS_SLUG_MOST} characters: names on AWS are short."
        )
    validated(mesh)
    try:
        with transaction.atomic():
            mesh.save()
            for name in STACKS[mesh.platform]:
                Stack.objects.create(mesh=mesh, name=name, kind="cloudformation")
            record(ask, "add-mesh", f"added the mesh {mesh.slug}", mesh=mesh)
    except IntegrityError as error:
        raise InvalidInput("slug", f"There is a mesh {mesh.slug} already.") from error
    return mesh


def change_mesh(mesh: Mesh, fields: Mapping[str, Any], *, ask: Ask) -> None:
    """Change a mesh: name, production, router, settings. Stacks follow when they are updated."""
    permit(ask, PROVISION)
    if repeated(ask, "change-mesh") is not None:
        return
    kept = Mesh.objects.get(pk=mesh.pk)
    changed = {name: value for name, value in fields.items() if getattr(kept, name) != value}
    if not changed:
        return
    fixed = sorted(changed.keys() & {"slug", "platform", "router"})
    if fixed and kept.stacks.exclude(phase="absent").exists():
        raise InvalidInput(fixed[0], f"The {fixed[0]} cannot change while the mesh has stacks.")
    before = {name: getattr(kept, name) for name in changed}
    for name, value in changed.items():
        setattr(kept, name, value)
    validated(kept)
    with transaction.atomic():
        Mesh.objects.filter(pk=mesh.pk).update(**changed)
        record(ask, "change-mesh", f"changed the mesh {kept.slug}: {', '.join(sorted(changed))}",
               mesh=kept, before=before, after=dict(changed))  # fmt: skip


def delete_mesh(mesh: Mesh, *, typed_name: str, ask: Ask) -> None:
    """Forget a mesh, with its services and their history. Refused while a stack is there."""
    permit(ask, PROVISION)
    if repeated(ask, "delete-mesh") is not None:
        return
    if typed_name != mesh.slug:
        raise InvalidInput("typed_name", f"Type {mesh.slug} to delete it.")
    with transaction.atomic():
        left = mesh.stacks.exclude(phase="absent").first()
        if left is not None or mesh.platform not in STACKS:
            there = f"the stack {left.name} is there" if left else "it is this machine"
            raise ActionRefused(f"{mesh.slug} cannot be deleted: {there}.")
        running = sum(service.running.count() for service in mesh.services.all())
        if running:
            raise ActionRefused(f"{mesh.slug} cannot be deleted: {running} tasks are running.")
        record(ask, "delete-mesh", f"deleted the mesh {mesh.slug}")
        for service in mesh.services.all():
            service.rollouts.all().delete()
            service.delete()
        mesh.delete()


# --- stacks


def request_proposal(stack: Stack, *, ask: Ask) -> None:
    """Ask what creating or updating the stack would change. Raises ActionRefused."""
    permit(ask, PROVISION)
    if repeated(ask, "propose") is not None:
        return
    if not provisioner(stack.kind).proposes:
        raise ActionRefused(f"{stack.name} shows what it would create without being asked.")
    _wish(stack, ask, Stack.PROPOSAL, Q(phase__in=Stack.WORKING), "propose",
          "asked for the changes of")  # fmt: skip


def request_provision(stack: Stack, *, ask: Ask, change_set: str = "") -> None:
    """Ask for the stack to be there. Raises ActionRefused when it is, or is being made.

    Where changes are proposed first, ``change_set`` is the one that the person has seen; another
    one raises Stale. ``"continue"``: go on with a rollback that failed.
    """
    permit(ask, PROVISION)
    if repeated(ask, "provision") is not None:
        return
    settled = Q(wanted=Stack.PRESENT) & ~Q(phase="failed")
    busy = settled | Q(phase="deleting")
    if provisioner(stack.kind).proposes:
        busy = Q(phase__in=Stack.WORKING)
        if change_set != CONTINUE:
            _seen(stack, change_set)
    asked = {"change_set": change_set} if change_set else {}
    _wish(stack, ask, Stack.PRESENT, busy, "provision", "asked to create or change", asked)


def _seen(stack: Stack, change_set: str) -> None:
    now = Stack.objects.get(pk=stack.pk)
    if not change_set:
        raise ActionRefused(f"Look at the changes of {stack.name} first.")
    if now.phase != "proposed" or now.proposal.get("change_set") != change_set:
        raise Stale(f"These changes of {stack.name} are out of date: look at the new ones.")


def request_discard(stack: Stack, *, ask: Ask) -> None:
    """Drop the proposed changes; the stack stays as it is."""
    permit(ask, PROVISION)
    if repeated(ask, "discard") is not None:
        return
    there = Stack.objects.get(pk=stack.pk).outputs
    wanted = Stack.PRESENT if there else Stack.ABSENT
    _wish(stack, ask, wanted, ~Q(phase="proposed"), "discard", "dropped the changes of",
          {"discard": True})  # fmt: skip


def request_drift(stack: Stack, *, ask: Ask) -> None:
    """Ask what differs between the stack and its template."""
    permit(ask, PROVISION)
    if repeated(ask, "drift") is not None:
        return
    with transaction.atomic():
        ready = Stack.objects.filter(pk=stack.pk, phase="ready")
        if not ready.update(drift_requested_at=ask.now, wake_at=ask.now):
            raise ActionRefused(f"{stack.name} is not ready: there is nothing to compare.")
        record(ask, "drift", f"asked for the drift of {stack.name}", mesh=stack.mesh)


def request_deprovision(
    stack: Stack, *, typed_name: str, ask: Ask, retain: Sequence[str] = ()
) -> None:
    """Ask for the stack to be destroyed. Refused while something needs it.

    ``retain``: resources that could not be deleted and are to be left behind.
    """
    permit(ask, PROVISION)
    if repeated(ask, "deprovision") is not None:
        return
    if typed_name != stack.name:
        raise InvalidInput("typed_name", f"Type {stack.name} to destroy it.")
    live = Rollout.objects.live().filter(service__mesh=stack.mesh).select_related("service").first()
    if live is not None:
        raise ActionRefused(f"Rollout #{live.pk} of {live.service.slug} is running: end it first.")
    later = _later(stack).exclude(phase="absent").order_by("-pk").first()
    if later is not None:
        raise ActionRefused(f"{later.name} needs {stack.name}: destroy {later.name} first.")
    busy = Q(wanted=Stack.ABSENT) & ~Q(phase="failed")
    if provisioner(stack.kind).proposes:
        busy |= Q(phase__in=("creating", "updating", "deleting"))
    asked = {"retain": list(retain)} if retain else {}
    _wish(stack, ask, Stack.ABSENT, busy, "deprovision", "asked to destroy", asked)


def _later(stack: Stack) -> Any:
    """The stacks of the mesh that were made on top of this one."""
    names = STACKS.get(stack.mesh.platform, ())
    after = names[names.index(stack.name) + 1 :] if stack.name in names else ()
    return Stack.objects.filter(mesh=stack.mesh, name__in=after)


@transaction.atomic
def _wish(
    stack: Stack, ask: Ask, wanted: str, busy: Q, verb: str, text: str,
    asked: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    wished = (
        Stack.objects.filter(pk=stack.pk)
        .exclude(busy)
        .update(
            wanted=wanted,
            requested_at=ask.now,
            attempt=F("attempt") + 1,
            asked=asked or {},
            wake_at=ask.now,
        )
    )
    if not wished:
        now = Stack.objects.get(pk=stack.pk)
        raise ActionRefused(f"The stack is {now.get_phase_display().lower()} already.")
    record(ask, verb, f"{text} the stack {stack.name}", mesh=stack.mesh)
