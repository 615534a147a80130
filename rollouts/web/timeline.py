"""The Steps list of a rollout: from its plan, its records, its tasks and its versions. Pure.

The numbers are the ones that stand above the chart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from rollouts.domain.state import Phase, Stage
from rollouts.models import StepRecord, Task, Version
from rollouts.web.facts import Facts

WORDS = {
    "done": "done",
    "current": "now",
    "paused": "paused",
    "failed": "failed",
    "stopped": "stopped",
    "skipped": "skipped",
    "todo": "to come",
}


@dataclass(frozen=True)
class Row:
    """One step. ``state``: done, current, paused, failed, stopped, skipped or todo.

    ``at`` Unix time, ``took`` and ``left`` seconds, ``until`` Unix time of the countdown's end
    (None while the clock stands still), ``percent`` of the hold that is over.
    """

    number: int
    key: str
    name: str
    note: str = ""
    state: str = "todo"
    at: float | None = None
    took: float | None = None
    left: float | None = None
    until: float | None = None
    percent: int | None = None
    undo: bool = False
    tasks: tuple[Task, ...] = field(default=())

    @property
    def word(self) -> str:
        return WORDS[self.state]


def timeline(facts: Facts) -> tuple[Row, ...]:
    rows = list(_forward(facts))
    if facts.rollout.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.FAILED):
        rows = [_given_up(row) for row in rows] + list(_undo(facts))
    elif facts.rollout.phase in (Phase.PROMOTING, Phase.SUCCEEDED):
        rows = [_passed_over(row) for row in rows]
    return tuple(replace(row, number=number) for number, row in enumerate(rows, 1))


def _given_up(row: Row) -> Row:
    """Once a rollout goes back, what was under way is stopped and the rest never comes."""
    if row.state == "todo":
        return replace(row, state="skipped")
    if row.state in ("current", "paused"):
        return replace(row, state="stopped", left=None, until=None, percent=None, tasks=())
    return row


def _passed_over(row: Row) -> Row:
    """A step that "promote fully" left out."""
    planned = row.key.startswith(("shift-", "hold-"))
    return replace(row, state="skipped") if planned and row.state == "todo" else row


def _forward(facts: Facts) -> Iterator[Row]:
    new, tasks = facts.new.label, facts.service.tasks
    yield _row(facts, "provision", f"Provision {new}", "Task set and virtual node, no traffic")
    start = _row(facts, "start", f"Start {new}", f"{facts.healthy(facts.new.pk)}/{tasks} healthy")
    if start.state == "done":
        start = replace(start, note=f"{tasks} healthy")
    yield replace(start, tasks=tuple(facts.tasks_of(facts.new.pk)))
    # With nothing to go back to, the first deploy goes straight to the end.
    plan = facts.rollout.plan if facts.old is not None else []
    for index, step in enumerate(plan):
        yield from _step(facts, index, step)
    name = (
        f"Make {new} stable"
        if plan and plan[-1]["weight"] == 100
        else f"Shift to 100 %, make {new} stable"
    )
    yield _row(facts, "promote", name, "Every proxy has confirmed 100 %")
    if facts.old is not None and facts.rollout.phase != Phase.FAILED:
        minutes = time_text(facts.service.scale_down_delay_s)
        yield from _teardown(facts, facts.old, f"Keep {facts.old.label} warm for {minutes}", False)


def _step(facts: Facts, index: int, step: dict[str, Any]) -> Iterator[Row]:
    weight = step["weight"]
    old = f"{facts.old.label} = {100 - weight}, " if facts.old else ""
    yield _row(
        facts, f"shift-{index}", f"Shift to {weight} %", f"{old}{facts.new.label} = {weight}"
    )
    if step.get("approval"):
        row = _row(facts, f"hold-{index}", "Wait for approval", _approval(step))
        yield _timed(facts, index, row, step.get("timeout_s"))
    elif step.get("hold_s"):
        row = _row(facts, f"hold-{index}", f"Bake for {time_text(step['hold_s'])}", "")
        yield _timed(facts, index, row, step["hold_s"])


def _approval(step: dict[str, Any]) -> str:
    if not step.get("timeout_s") or step.get("on_timeout") == "wait":
        return "Until a person approves"
    then = {"rollback": "rolls back", "promote": "goes on"}[step.get("on_timeout", "rollback")]
    return f"At most {time_text(step['timeout_s'])}, then it {then}"


def _timed(facts: Facts, index: int, row: Row, total: float | None) -> Row:
    """Add the countdown to the hold or approval that is under way."""
    rollout = facts.rollout
    under_way = rollout.phase == Phase.PROGRESSING and rollout.step == index
    if not under_way or rollout.stage == Stage.SHIFT or rollout.left is None or not total:
        return row
    until = None if rollout.paused else facts.clock + rollout.left
    left = max(0.0, (until - facts.now.timestamp()) if until else rollout.left)
    return replace(
        row, left=left, until=until, percent=min(100, round(100 * (total - left) / total))
    )


def _row(facts: Facts, key: str, name: str, note: str) -> Row:
    record = facts.records.get(key)
    if record is None:
        return Row(0, key, name, note)
    state = _state(facts, record)
    took = (record.ended_at - record.started_at).total_seconds() if record.ended_at else None
    return Row(0, key, name, note, state, record.started_at.timestamp(), took)


def _state(facts: Facts, record: StepRecord) -> str:
    if record.ended_at is not None:
        return record.outcome if record.outcome in WORDS else "done"
    return "paused" if facts.rollout.paused else "current"


def _undo(facts: Facts) -> Iterator[Row]:
    old = facts.old
    name = f"Send 100 % to {old.label}" if old else f"Take all traffic from {facts.new.label}"
    yield replace(_row(facts, "rollback", name, _confirmations(facts)), undo=True)
    if facts.rollout.keep_tasks:
        kept = f"Keep {facts.new.label} for inspection"
        state = "done" if facts.rollout.finished_at else "todo"
        yield Row(0, "keep", kept, "No traffic, until someone destroys it", state, undo=True)
        return
    delay = time_text(facts.service.abort_delay_s)
    yield from _teardown(facts, facts.new, f"Keep {facts.new.label} for {delay}", True)


def _confirmations(facts: Facts) -> str:
    total = len(facts.proxies)
    if facts.rollout.finished_at is not None or not total:
        return "Confirmed by every proxy" if facts.rollout.finished_at else "No proxy is known"
    return f"Confirmed by {total - len(facts.lagging())} of {total} proxies"


def _teardown(facts: Facts, version: Version, name: str, undo: bool) -> Iterator[Row]:
    """What becomes of the version that lost; only the newest rollout of a service can tell."""
    if not facts.newest and facts.rollout.finished_at is not None:
        return
    row = facts.versions.get(version.pk, version)
    drain = f"Drain and destroy {row.label}"
    note = f"{facts.service.drain_s} s to finish what it has, then its tasks stop"
    # What a rollback undoes never retires the version it goes back to.
    over = facts.rollout.finished_at is not None and (
        undo or facts.rollout.phase == Phase.SUCCEEDED
    )
    left_tasks = len(facts.tasks_of(row.pk))
    wait = Row(0, "warm", name, "No traffic, ready to take it back", undo=undo)
    end = Row(0, "drain", drain, note, undo=undo)
    if over and not row.count and not left_tasks:
        wait, end = replace(wait, state="done"), replace(end, state="done")
    elif over and (row.drain_left is not None or not row.count):
        wait = replace(wait, state="done")
        end = replace(end, state="current", note=_left_tasks(left_tasks))
    elif over and row.retire_left is not None:
        until = facts.clock + row.retire_left
        left = max(0.0, until - facts.now.timestamp())
        wait = replace(wait, state="current", left=left, until=until)
    elif over:
        wait = replace(wait, state="done", note="Kept until someone destroys it")
    yield wait
    yield end


def _left_tasks(count: int) -> str:
    return f"{count} task{'' if count == 1 else 's'} left"


def time_text(seconds: float) -> str:
    """ "10 min", "45 s", "1 h 30 min"."""
    minutes, rest = divmod(int(seconds), 60)
    if rest or not minutes:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
