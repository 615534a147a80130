"""Tasks that ended although nobody asked: which they are, why, and their last words.

Read by ``ecs_tasks``. What was seen once is kept as the service's Task rows, by ``reconcile``, for
an hour, and while a rollout goes on: its deaths are counted, and ECS forgets them after an hour.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from rollouts import aws
from rollouts.errors import AwsError
from rollouts.models import Service
from rollouts.models import Task as Row
from rollouts.platforms.base import Task
from rollouts.platforms.ecs_definitions import CONTAINER
from rollouts.platforms.ecs_place import Place

log = logging.getLogger(__name__)

STATE = "stopped"
FIRST_INDEX = 100  # far above those that run
KEPT = 50  # of one version, the newest
KEPT_FOR = timedelta(hours=1)
LOG_LINES = 20
LOGS_AT_ONCE = 3
FAILED = ("TaskFailedToStart", "EssentialContainerExited")
# Codes of containers that were told to end because another one had ended.
ENDED_ALONG = (0, 137, 143)

Raw = Mapping[str, Any]  # a task as describe_tasks gives it


@dataclass(frozen=True)
class _Looked:
    """``event``: ECS's newest event then. ``other``: stopped tasks that nobody has to hear of."""

    event: str
    other: frozenset[str]


_looked: dict[int, _Looked] = {}  # by service, of this process


def known(service: Service, now: datetime) -> dict[int, list[Task]]:
    """Failures as once seen, newest first, by version; old ones only while a rollout goes on."""
    rows = list(Row.objects.filter(service=service, state=STATE).order_by("index"))
    if rows and not service.rollouts.live().exists():
        rows = [row for row in rows if row.seen_at > now - KEPT_FOR]
    found: dict[int, list[Task]] = {}
    for row in rows:
        found.setdefault(row.version_id, []).append(_of_row(row))
    return found


def _of_row(row: Row) -> Task:
    return Task(row.name, row.index, row.host, row.port, row.state, row.healthy,
                exits=row.exits, reason=row.reason, log=row.log)  # fmt: skip


def names(place: Place, *, event: str, at_rest: bool, seen: Iterable[str]) -> list[str]:
    """ARNs of stopped tasks to describe. No call while nothing has happened since the last look."""
    looked = _looked.get(place.service.pk)
    if looked is not None and at_rest and event and looked.event == event:
        return []
    arns: list[Any] = aws.pages(
        place.account, "ecs", "list_tasks", "taskArns",
        cluster=place.cluster, serviceName=place.name, desiredStatus="STOPPED",
    )  # fmt: skip
    skip = {*seen, *(looked.other if looked else ())}
    return [str(arn) for arn in arns if _id(arn) not in skip]


def note(
    place: Place, event: str, *, described: Iterable[Raw], seen: Iterable[str], told: Iterable[Task]
) -> None:
    """Remember what was looked at. ``seen``, ``described`` but not ``told`` is not of interest."""
    ending = [raw for raw in described if raw["desiredStatus"] == "STOPPED"]
    if not all(over(raw) for raw in ending):
        event = ""  # how they end is not known yet, and no event will say that it is
    looked = _looked.get(place.service.pk)
    others = {*seen, *(_id(raw["taskArn"]) for raw in ending if over(raw))}
    others -= {task.name for task in told}
    # ECS forgets them too, so the newest thousand are enough.
    kept = [*others, *(looked.other if looked else ())][:1000]
    _looked[place.service.pk] = _Looked(event, frozenset(kept))


def failed(task: Raw) -> bool:
    """Did it end although nobody asked? Those that never became healthy end by the scheduler."""
    by_check = str(task.get("stoppedReason", "")).startswith("Task failed")
    return task.get("stopCode") in FAILED or by_check


def recent(task: Raw, now: datetime) -> bool:
    return bool((task.get("stoppedAt") or task["createdAt"]) > now - KEPT_FOR)


def over(task: Raw) -> bool:
    """Is it stopped for good, so that its containers' codes are known?"""
    return bool(task["lastStatus"] == "STOPPED")


def in_order(place: Place, version: int, new: Sequence[Raw], old: Sequence[Task]) -> list[Task]:
    """Failures of one version, newest first, numbered; new ones with the end of their log."""
    newest = sorted(new, key=lambda raw: raw.get("stoppedAt") or raw["createdAt"], reverse=True)
    fresh = [
        _task(place, version, raw, with_log=number < LOGS_AT_ONCE)
        for number, raw in enumerate(newest)
    ]
    return [
        replace(task, index=FIRST_INDEX + number)
        for number, task in enumerate([*fresh, *old][:KEPT])
    ]


def _task(place: Place, version: int, raw: Raw, *, with_log: bool) -> Task:
    ended = culprit(raw)
    lines = ""
    if with_log and ended is not None and raw.get("stopCode") == "EssentialContainerExited":
        lines = _last_lines(place, version, ended["name"], _id(raw["taskArn"]))
    return Task(
        name=_id(raw["taskArn"]), index=FIRST_INDEX, host=address(raw), port=None, state=STATE,
        healthy=False, exits=1, reason=reason_of(raw), log=lines,
    )  # fmt: skip


def reason_of(task: Raw) -> str:
    """ECS's own words, and of the container that ended its code and ECS's words for that."""
    said = str(task.get("stoppedReason") or task.get("stopCode") or "It stopped.").rstrip(". ")
    ended = culprit(task)
    if ended is None:
        return f"{said}."
    words = []
    if ended.get("exitCode") is not None and task.get("stopCode") != "TaskFailedToStart":
        words.append(f"exit code {ended['exitCode']}")
    why = str(ended.get("reason") or "").rstrip(". ")
    if why and why not in said:
        words.append(why)
    return f"{said}. {ended['name']}: {', '.join(words)}." if words else f"{said}."


def culprit(task: Raw) -> Mapping[str, Any] | None:
    """The container that ended first, as far as codes tell; None when none has ended."""
    ended = [c for c in task.get("containers", ()) if c.get("exitCode") is not None]
    ended = ended or [c for c in task.get("containers", ()) if c.get("reason")]
    return min(ended, key=_blame, default=None)


def _blame(container: Mapping[str, Any]) -> tuple[bool, bool, bool, bool]:
    return (
        "OutOfMemory" not in str(container.get("reason")),
        container.get("exitCode") in ENDED_ALONG,
        container.get("exitCode") == 0,
        container["name"] != CONTAINER,
    )


def address(task: Raw) -> str:
    """The private address of the task's network interface; empty before it has one."""
    for attachment in task.get("attachments", ()):
        for detail in attachment.get("details", ()):
            if detail["name"] == "privateIPv4Address":
                return str(detail["value"])
    return ""


def _last_lines(place: Place, version: int, container: str, task: str) -> str:
    """Best effort, and only once: the reason is known without it."""
    try:
        answer = aws.call(
            place.account, "logs", "get_log_events",
            logGroupName=place.output("LogGroup"),
            logStreamName=f"{place.target(version)}/{container}/{task}",
            limit=LOG_LINES, startFromHead=False,
        )  # fmt: skip
    except AwsError as error:
        log.info("%s: no log of the task %s: %s", place.service.slug, task, error)
        return ""
    return "\n".join(event["message"].rstrip("\n") for event in answer["events"])


def cannot_place(events: Iterable[Mapping[str, Any]], set_id: str) -> str:
    """Why ECS cannot even make a task of a set, by its newest event about it; or empty."""
    about = (str(e["message"]) for e in events if set_id in str(e["message"]))
    newest = next(about, "")
    return newest if re.search(r"\bunable to (place|start|launch)", newest) else ""


def _id(arn: str) -> str:
    return str(arn).rpartition("/")[2]
