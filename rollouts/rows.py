"""Rows to pure state and back: what ``decide`` reads, and what of its decision is stored.

Used by ``reconcile`` only. Storing is one transaction guarded by ``Service.ticks``: whoever read
before somebody else wrote stores nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import F

from rollouts.clock import Moment
from rollouts.domain.plan import from_json
from rollouts.domain.state import (
    FINISHED,
    Confirmed,
    Decision,
    Phase,
    RolloutState,
    Said,
    Seen,
    ServiceState,
    Stage,
    TaskSeen,
    Verdict,
    VersionState,
)
from rollouts.models import Event, Rollout, Route, Service, StepRecord, Task, Version, json_weights
from rollouts.platforms.base import platform
from rollouts.routers.base import router

# What ``decide`` hears of a version. Not the build: a service may have had hundreds of them.
VERSION_COLUMNS = (
    *("label", "number", "count", "keep"),
    *("retire_left", "drain_left", "destroy_requested_at"),
)


@dataclass(frozen=True)
class Rows:
    """One service as it was read: the service first, so that ``ticks`` guards all of it."""

    service: Service
    rollout: Rollout | None
    versions: Mapping[int, Version]


def read(pk: int) -> Rows:
    service = Service.objects.select_related("mesh").get(pk=pk)
    # Without its versions, as live_rollout() has them: those are read whole by the next line.
    rollout = service.rollouts.live().first()
    versions = service.versions.only("service", *VERSION_COLUMNS)
    return Rows(service, rollout, {version.pk: version for version in versions})


def state_of(rows: Rows) -> ServiceState:
    service = rows.service
    hold_s = router(service.mesh.router).caps.hold_before_scale_in_s
    return ServiceState(
        tasks=service.tasks,
        stable=service.stable_id,
        weights={int(pk): weight for pk, weight in service.weights.items()},
        generation=service.generation,
        versions={pk: _version_state(version) for pk, version in rows.versions.items()},
        rollout=None if rows.rollout is None else _rollout_state(rows.rollout),
        automatic=service.automatic_deploys,
        alarm=service.alarm,
        # Whoever stops tasks waits for this, whatever for: it is the one place that all pass.
        drain_s=max(service.drain_s, hold_s),
        deaths_allowed=platform(service.mesh.platform).deaths_allowed(service.tasks),
        scale_down_s=service.scale_down_delay_s,
        abort_delay_s=service.abort_delay_s,
        keep_warm=service.keep_warm,
    )


def _version_state(version: Version) -> VersionState:
    return VersionState(
        label=version.label,
        number=version.number,
        count=version.count,
        keep=version.keep,
        retire_left=version.retire_left,
        drain_left=version.drain_left,
        destroy=version.destroy_requested_at is not None,
    )


def _rollout_state(rollout: Rollout) -> RolloutState:
    return RolloutState(
        to=rollout.to_version_id,
        came_from=rollout.from_version_id,
        plan=from_json(rollout.plan),
        phase=Phase(rollout.phase),
        step=rollout.step,
        stage=Stage(rollout.stage),
        left=rollout.left,
        deadline_left=rollout.deadline_left,
        exits_base=rollout.exits_base,
        reason=rollout.reason,
        paused=rollout.paused,
        promote_step=rollout.promote_step,
        promote_full=rollout.promote_full,
        rollback=rollout.rollback_requested_at is not None,
        keep_tasks=rollout.keep_tasks,
        wish_reason=rollout.wish_reason,
        wish_by=rollout.wish_by,
    )


def last_seen(service: Service, lagging: str, *, fresh: bool) -> Seen:
    """What is known without asking anybody: the tasks as last observed, nothing confirmed."""
    tasks: dict[int, list[TaskSeen]] = {}
    for task in Task.objects.filter(service=service):
        tasks.setdefault(task.version_id, []).append(
            TaskSeen(task.index, task.state, task.healthy, task.exits, task.reason)
        )
    confirmed = Confirmed(service.generation, Verdict.UNKNOWN, (lagging,) if lagging else ())
    seen = {pk: tuple(found) for pk, found in tasks.items()}
    return Seen(seen, confirmed, fresh, service.trouble, service.trouble_lasts)


def store(rows: Rows, before: ServiceState, decision: Decision, at: Moment) -> bool:
    """Store what changed, or nothing at all and return False when another tick was first."""
    after = decision.state
    if after == before and decision.waiting == rows.service.waiting and not timers(before):
        return True
    with transaction.atomic():
        if not _store_service(rows.service, before, decision, at):
            return False
        _store_versions(before, after)
        if rows.rollout is not None and after.rollout is not None:
            _store_rollout(rows.rollout, before, after, at)
        _store_route(rows, before, after, decision.said, at)
        _say(rows, before, after, decision.said, at)
    return True


def generation_after(before: ServiceState, after: ServiceState) -> int:
    """New weights are a new generation; nothing else is."""
    return before.generation + (dict(after.weights) != dict(before.weights))


def timers(state: ServiceState) -> bool:
    """Does any clock run? Then the clock is stored at every tick."""
    if state.rollout is not None and state.rollout.phase not in FINISHED:
        return True
    return any(
        version.retire_left is not None or version.drain_left is not None
        for version in state.versions.values()
    )


def _store_service(service: Service, before: ServiceState, decision: Decision, at: Moment) -> bool:
    after = decision.state
    changes: dict[str, Any] = {
        "ticks": F("ticks") + 1,
        "waiting": decision.waiting[:400],
        "alarm": after.alarm[:400],
        "clock_wall": at.now.timestamp(),
        "clock_mono": at.mono,
        "clock_boot": at.boot,
    }
    if dict(after.weights) != dict(before.weights):
        changes |= {
            "weights": json_weights(dict(after.weights)),
            "generation": generation_after(before, after),
        }
    if after.stable != before.stable:
        changes["stable_id"] = after.stable
    if _begins(before, after):
        # What could not be done before says nothing about what is tried now.
        changes |= {"trouble": "", "trouble_lasts": False}
    if before.automatic and not after.automatic:
        changes |= {"automatic_deploys": False, "automatic_why": _automatic_why(after)}
    return bool(Service.objects.filter(pk=service.pk, ticks=service.ticks).update(**changes))


def _begins(before: ServiceState, after: ServiceState) -> bool:
    was, now = before.rollout, after.rollout
    pending = was is not None and was.phase is Phase.PENDING
    return pending and now is not None and now.phase is not Phase.PENDING


def _automatic_why(after: ServiceState) -> str:
    rollout = after.rollout
    label = after.label(rollout.to) if rollout is not None else "a version"
    return f"Turned off by the rollback of {label}."


def _store_versions(before: ServiceState, after: ServiceState) -> None:
    for pk, version in after.versions.items():
        if version != before.versions[pk]:
            Version.objects.filter(pk=pk).update(
                count=version.count,
                keep=version.keep,
                retire_left=version.retire_left,
                drain_left=version.drain_left,
            )
        if before.versions[pk].destroy and not version.destroy:
            Version.objects.filter(pk=pk).update(destroy_requested_at=None)


def _store_rollout(rollout: Rollout, before: ServiceState, after: ServiceState, at: Moment) -> None:
    was, now = before.rollout, after.rollout
    if was is None or now is None:
        return
    moved = (was.phase, was.step, was.stage) != (now.phase, now.step, now.stage)
    changes: dict[str, Any] = {
        "phase": now.phase,
        "step": now.step,
        "stage": now.stage,
        "left": now.left,
        "deadline_left": now.deadline_left,
        "exits_base": now.exits_base,
        "reason": now.reason,
    }
    if moved:
        changes["revision"] = F("revision") + 1
        _record(rollout, was, now, at)
    if now.phase in FINISHED:
        changes["finished_at"] = at.now
    Rollout.objects.filter(pk=rollout.pk).update(**changes)


def _record(rollout: Rollout, was: RolloutState, now: RolloutState, at: Moment) -> None:
    """Close the timeline row that was left, open the one that was entered."""
    old, new = row_key(was), row_key(now)
    if old == new:
        return
    outcome = "done"
    if now.phase is Phase.ROLLING_BACK:
        outcome = "stopped" if now.rollback else "failed"
    StepRecord.objects.filter(rollout=rollout, key=old, ended_at=None).update(
        ended_at=at.now, outcome=outcome
    )
    if new:
        row = StepRecord(rollout=rollout, key=new, started_at=at.now)
        # One query, not the four of get_or_create: a push waits for this transaction.
        StepRecord.objects.bulk_create([row], ignore_conflicts=True)


def row_key(rollout: RolloutState) -> str:
    """The timeline row a rollout is in; empty once it has finished."""
    if rollout.phase in FINISHED:
        return ""
    if rollout.phase is Phase.PROGRESSING:
        stage = "shift" if rollout.stage is Stage.SHIFT else "hold"
        return f"{stage}-{rollout.step}"
    return {
        Phase.PENDING: "provision",
        Phase.PROVISIONING: "provision",
        Phase.STARTING: "start",
        Phase.PROMOTING: "promote",
        Phase.ROLLING_BACK: "rollback",
    }[rollout.phase]


def _store_route(
    rows: Rows, before: ServiceState, after: ServiceState, said: Sequence[Said], at: Moment
) -> None:
    if dict(after.weights) == dict(before.weights):
        return
    wish_by = rows.rollout.wish_by if rows.rollout is not None else ""
    undoing = after.rollout is not None and after.rollout.phase is Phase.ROLLING_BACK
    Route.objects.create(
        service=rows.service,
        generation=generation_after(before, after),
        weights=json_weights(dict(after.weights)),
        at=at.now,
        rollout=rows.rollout,
        actor=wish_by if undoing and after.rollout and after.rollout.rollback else "meshui",
        reason=" ".join(each.text for each in said),
    )


def _say(
    rows: Rows, before: ServiceState, after: ServiceState, said: Sequence[Said], at: Moment
) -> None:
    """One Event for each sentence; the last carries the weights when they changed."""
    changed = dict(after.weights) != dict(before.weights)
    if changed and not said:
        said = [Said("weights", "The weights changed.")]
    for number, each in enumerate(said, 1):
        last = changed and number == len(said)
        Event.objects.create(
            at=at.now,
            mesh=rows.service.mesh,
            service=rows.service,
            rollout=rows.rollout,
            verb=each.verb,
            text=each.text,
            reason=each.reason,
            severity=each.severity,
            before=json_weights(dict(before.weights)) if last else None,
            after=json_weights(dict(after.weights)) if last else None,
            generation=generation_after(before, after) if last else None,
        )
