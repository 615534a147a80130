"""What a deploy would do, row by row, with times. Read by the deploy form; changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from rollouts.domain.plan import Plan, Step
from rollouts.models import Service, StepRecord, Version

HISTORY = 10


@dataclass(frozen=True)
class Row:
    """One numbered step: what, more about it, how long in words (empty: as long as it takes)."""

    name: str
    about: str
    time: str = ""


@dataclass(frozen=True)
class Preview:
    rows: Sequence[Row]
    total: str


def duration(seconds: float) -> str:
    """Seconds as people say them: "42 s", "6 m 22 s", "1 h 04 m", "2 d 03 h"."""
    whole = max(0, round(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86_400
    if days:
        return f"{days} d {hours % 24:02} h"
    if hours:
        return f"{hours} h {minutes % 60:02} m"
    return f"{minutes} m {whole % 60:02} s" if minutes else f"{whole} s"


def usual_start_s(service: Service) -> float | None:
    """Median seconds that tasks of the service took to become healthy; None: never seen."""
    spans = StepRecord.objects.filter(
        rollout__service=service, key="start", outcome="done", ended_at__isnull=False
    ).order_by("-id")
    seen = [
        (ended - started).total_seconds()
        for started, ended in spans.values_list("started_at", "ended_at")[:HISTORY]
        if ended
    ]
    return median(seen) if seen else None


def is_warm(service: Service, version: Version) -> bool:
    """Are all tasks of the version there and healthy, so that only a weight has to be written?"""
    return version.tasks.filter(healthy=True, index__lt=version.keep).count() >= service.tasks


def what_will_happen(service: Service, version: Version, plan: Plan) -> Preview:
    """The rows of a rollout of ``version`` by ``plan``, in the order in which they happen."""
    start, start_s = _start(service, version)
    old = service.stable
    # A plan that ends below 100 % is promoted to it all the same.
    walked = plan if plan[-1].weight == 100 else (*plan, Step(100))
    steps = [row for step in walked for row in _step(step, version, old)]
    total = start_s + sum(step.hold_s for step in plan)
    return Preview([*start, *steps, *_end(service, version, old)], _total(total, plan))


def _start(service: Service, version: Version) -> tuple[list[Row], float]:
    if is_warm(service, version):
        return [Row(f"Use the running tasks of {version.label}", "Warm: nothing to start")], 0.0
    usual = usual_start_s(service)
    limit = duration(service.start_deadline_s)
    time = f"≈ {duration(usual)}" if usual is not None else f"at most {limit}"
    tasks = f"{service.tasks} task{'s' if service.tasks > 1 else ''}"
    return [
        Row(f"Provision {version.label}", "At weight 0: no requests yet"),
        Row(f"Start {tasks}", f"Until all are healthy; fails after {limit}", time),
    ], usual or 0.0


def _step(step: Step, new: Version, old: Version | None) -> list[Row]:
    split = f"{new.label} {step.weight} %"
    if old and old.pk != new.pk:
        split = f"{old.label} {100 - step.weight} %, {split}"
    rows = [Row(f"Shift to {step.weight} %", split)]
    if step.approval:
        rows.append(Row("Wait for approval", *_approval(step)))
    elif step.hold_s:
        rows.append(Row("Bake", f"At {step.weight} %", duration(step.hold_s)))
    return rows


def _approval(step: Step) -> tuple[str, str]:
    if step.timeout_s is None or step.on_timeout == "wait":
        return "Until somebody promotes it", ""
    then = "rolls back" if step.on_timeout == "rollback" else "goes on"
    return f"Without an answer it {then}", f"at most {duration(step.timeout_s)}"


def _end(service: Service, new: Version, old: Version | None) -> list[Row]:
    rows = [Row(f"Make {new.label} stable", "Once every proxy confirms 100 %")]
    if old and old.pk != new.pk:
        if service.keep_warm:
            kept = duration(service.scale_down_delay_s)
            rows.append(Row(f"Keep {old.label} warm", "A rollback is one weight write", kept))
        rows.append(Row(f"Drain and destroy {old.label}", "It finishes what it has"))
    return rows


def _total(seconds: float, plan: Plan) -> str:
    waits = any(step.approval for step in plan)
    about = f"about {duration(seconds)}" if seconds else "a few seconds"
    return f"{about} and the wait for approval" if waits else about
