"""What a person may do with a rollout. Each records a wish in one conditional update."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q

from rollouts.actions.ask import Ask, permit, record, repeated
from rollouts.domain.plan import ALL_AT_ONCE, Plan
from rollouts.domain.state import Phase, Stage
from rollouts.errors import ActionRefused, Stale
from rollouts.models import Rollout, Service, Stack, Version
from rollouts.routers.base import check_plan, router

OPERATE = "rollouts.operate_service"
ROLL_BACK = "rollouts.rollback_rollout"


def request_deploy(
    service: Service, version: Version, *, plan: Plan, plan_name: str, ask: Ask
) -> Rollout:
    """Start a rollout of the version; the first ever goes straight to 100 %.

    Deploying the stable version while a rollout runs is a rollback of it. Raises ActionRefused when
    another rollout runs, or the version is stable, or deploys by token are turned off.
    """
    permit(ask, OPERATE)
    if (event := repeated(ask, "deploy")) is not None and event.rollout is not None:
        return event.rollout
    live = service.live_rollout()
    if live is not None and version.pk == service.stable_id:
        request_rollback(live, ask=ask)
        return live
    _refuse_deploy(service, version, live, ask)
    check_plan(plan, router(service.mesh.router).caps)
    if service.stable_id is None:
        plan, plan_name = ALL_AT_ONCE, "First deploy"
    return _begin(service, version, ask, plan=plan, plan_name=plan_name)


def _refuse_deploy(service: Service, version: Version, live: Rollout | None, ask: Ask) -> None:
    if version.service_id != service.pk:
        raise ActionRefused(f"{version.label} is not a version of {service.slug}.")
    stacks = service.mesh.stacks
    if stacks.exists() and not stacks.filter(wanted=Stack.PRESENT).exists():
        raise ActionRefused(f"The mesh {service.mesh} is not there: create its stack first.")
    if live is not None:
        raise ActionRefused(
            f"Rollout #{live.pk} to {live.to_version.label} is running. "
            "Wait for its end, or roll it back first."
        )
    if version.pk == service.stable_id:
        raise ActionRefused(f"{version.label} is stable and serves 100 % already.")
    if ask.source == "api" and not service.automatic_deploys:
        raise ActionRefused(f"Automatic deploys are off. {service.automatic_why}")


def _begin(service: Service, version: Version, ask: Ask, *, plan: Plan, plan_name: str,
           kind: str = "deploy") -> Rollout:  # fmt: skip
    verb = "deploy" if kind == "deploy" else "return"
    try:
        with transaction.atomic():
            rollout = Rollout.objects.begin(
                service, version, plan=plan, plan_name=plan_name, kind=kind,
                started_by=ask.by, note=ask.reason, now=ask.now,
            )  # fmt: skip
            text = f"deployed {version.label} with {plan_name}"
            if kind == "rollback":
                text = f"asked to roll back to {version.label}"
            record(ask, verb, text, mesh=service.mesh, service=service, rollout=rollout)
    except IntegrityError as error:
        raise ActionRefused("Another rollout of this service started just now.") from error
    return rollout


def request_return(service: Service, version: Version, *, ask: Ask) -> Rollout:
    """Roll back after completion: to a kept or an older version, at once when it is warm.

    Also turns automatic deploys off. Raises ActionRefused.
    """
    permit(ask, ROLL_BACK)
    if (event := repeated(ask, "return")) is not None and event.rollout is not None:
        return event.rollout
    _refuse_deploy(service, version, service.live_rollout(), ask)
    if service.stable_id is None:
        raise ActionRefused("Nothing is deployed yet: deploy a version instead.")
    with transaction.atomic():
        Service.objects.filter(pk=service.pk).update(
            automatic_deploys=False, automatic_why=f"Turned off by the rollback to {version.label}."
        )
        return _begin(
            service, version, ask, plan=ALL_AT_ONCE, plan_name="Roll back", kind="rollback"
        )


def request_rollback(rollout: Rollout, *, ask: Ask) -> None:
    """Ask for every request to go back to stable; the new tasks then drain and go.

    Raises ActionRefused if the rollout has finished, or there is nothing to go back to.
    """
    _undo(rollout, ask, "rollback", "asked for a rollback", keep_tasks=False)


def request_abort(rollout: Rollout, *, ask: Ask) -> None:
    """As a rollback, but the new tasks stay, without traffic, until someone destroys them."""
    _undo(rollout, ask, "abort", "asked to abort and keep the new tasks", keep_tasks=True)


def _undo(rollout: Rollout, ask: Ask, verb: str, text: str, *, keep_tasks: bool) -> None:
    _wish(
        rollout, ask, verb, text, permission=ROLL_BACK,
        where=Q(rollback_requested_at=None),
        refusal="A rollback was asked for already.",
        rollback_requested_at=ask.now, keep_tasks=keep_tasks,
        wish_by=ask.name, wish_reason=ask.reason,
    )  # fmt: skip


def request_pause(rollout: Rollout, *, ask: Ask) -> None:
    """Freeze the plan where it is. Pausing never changes weights."""
    _wish(
        rollout, ask, "pause", "paused the rollout", permission=OPERATE,
        where=Q(paused=False) & ~Q(phase=Phase.ROLLING_BACK), refusal="It is paused already.",
        paused=True, wish_by=ask.name, wish_reason=ask.reason,
    )  # fmt: skip


def request_resume(rollout: Rollout, *, ask: Ask) -> None:
    """Let the plan go on with the time that was left."""
    _wish(
        rollout, ask, "resume", "resumed the rollout", permission=OPERATE,
        where=Q(paused=True), refusal="It is not paused.", paused=False,
    )  # fmt: skip


def request_promote(rollout: Rollout, *, step: int, ask: Ask) -> None:
    """End the present hold or wait for approval: exactly one step, even when two people click.

    ``step`` is the index of the step to end. Also resumes a paused rollout.
    """
    _wish(
        rollout, ask, "promote", f"promoted step {step + 1}", permission=OPERATE,
        where=Q(phase=Phase.PROGRESSING, step=step, stage__in=[Stage.HOLD, Stage.APPROVAL]),
        refusal="This step has ended already, or has not been reached.",
        promote_step=step, paused=False,
    )  # fmt: skip


def request_promote_full(rollout: Rollout, *, ask: Ask) -> None:
    """Skip every hold and step that is left; still waits for health."""
    _wish(
        rollout, ask, "promote-full", "promoted to 100 %", permission=OPERATE,
        where=Q(promote_full=False) & ~Q(phase__in=[Phase.PROMOTING, Phase.ROLLING_BACK]),
        refusal="It goes to 100 % already, or is rolling back.",
        promote_full=True, paused=False,
    )  # fmt: skip


@transaction.atomic
def _wish(
    rollout: Rollout, ask: Ask, verb: str, text: str, *, permission: str, where: Q, refusal: str,
    **changes: Any,
) -> None:  # fmt: skip
    """Record a wish and wake the service, in one conditional update; or say why not."""
    permit(ask, permission)
    if repeated(ask, verb) is not None:
        return
    live = Rollout.objects.live().filter(pk=rollout.pk)
    if ask.expect is not None:
        live = live.filter(revision=ask.expect)
    if not live.filter(where).update(**changes, revision=F("revision") + 1):
        raise _refusal(rollout, ask, where, refusal)
    Service.objects.wake(rollout.service_id, ask.now)
    record(ask, verb, text, mesh=rollout.service.mesh, service=rollout.service, rollout=rollout)


def _refusal(rollout: Rollout, ask: Ask, where: Q, refusal: str) -> ActionRefused:
    now = Rollout.objects.get(pk=rollout.pk)
    if not now.is_live:
        return ActionRefused(f"This rollout has already finished: {now.phase.replace('_', ' ')}.")
    if ask.expect is not None and now.revision != ask.expect:
        return Stale("The rollout has moved on since you looked. Look again, then decide.")
    return ActionRefused(refusal)


def request_destroy(version: Version, *, ask: Ask) -> None:
    """Drain and stop the tasks of an idle version; one that may take requests is refused."""
    permit(ask, OPERATE)
    if repeated(ask, "destroy") is not None:
        return
    service = version.service
    live = service.live_rollout()
    busy = {service.stable_id} | ({live.to_version_id, live.from_version_id} if live else set())
    if version.pk in busy or service.weight_of(version.pk):
        raise ActionRefused(f"{version.label} takes requests, or may take them: it stays.")
    with transaction.atomic():
        asked = Version.objects.filter(
            pk=version.pk, count__gt=0, destroy_requested_at=None
        ).update(destroy_requested_at=ask.now)
        if not asked:
            raise ActionRefused(f"{version.label} has no tasks, or is being destroyed already.")
        Service.objects.wake(service.pk, ask.now)
        record(ask, "destroy", f"asked to destroy {version.label}", mesh=service.mesh,
               service=service)  # fmt: skip
