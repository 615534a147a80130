"""What the machine does: observe → decide → store → apply.

Called by Celery tasks, and by every door right after a wish. Only ticks touch the world. A tick
may be killed at any line and run twice at once: storing is by compare-and-set, and what is
applied is read again from the rows, where generations only grow.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum, auto

from django.db import transaction
from django.db.models import QuerySet

from rollouts import live, rows
from rollouts.clock import Moment
from rollouts.domain.decide import decide, place
from rollouts.domain.state import Confirmed, Seen, TaskSeen, Verdict
from rollouts.errors import MeshuiError, PlatformError, PlatformStale, RouterError
from rollouts.models import Heartbeat, Route, Service, Task
from rollouts.platforms.base import Task as PlatformTask
from rollouts.platforms.base import platform
from rollouts.routers.base import router

log = logging.getLogger(__name__)

ROUNDS = 12  # one tick may walk through several phases when nothing has to be waited for
WAIT_S = 0.25  # for proxies to confirm; a later tick looks again


def tick_due(at: Moment) -> int:
    """Tick every service that is due and that nobody else is ticking; return how many."""
    ticked = 0
    due = Service.objects.due(at.now).order_by("wake_at")
    for pk, kind in due.values_list("pk", "mesh__platform"):
        # Only saves work, for storing is guarded: short, as a killed worker never gives it back.
        lease = timedelta(seconds=platform(kind).pace.lease_s)
        if Service.objects.claim(pk, at.now, at.now + lease):
            ticked += 1
            try:
                tick(pk, at)
            except MeshuiError:
                # One service whose mesh cannot be read must not stop the others.
                log.exception("service %s: not ticked", pk)
            finally:
                Service.objects.filter(pk=pk).update(lease_until=None)
    return ticked


def tick(pk: int, at: Moment) -> None:
    """Bring one service as far as it can go now."""
    for _ in range(ROUNDS):
        if _act(pk, at, quick=False) is Outcome.SETTLED:
            break


def tick_wish(pk: int, at: Moment) -> None:
    """The tick of a door: first act on what is known, without asking anybody, then look.

    A rollback thus costs one transaction and one push, whoever else is dead or slow. When the push
    was not heard there is nothing to look at, and a person waits: workers go on from there. So they
    do with everything but weights where a look may take long.
    """
    for _ in range(ROUNDS):
        outcome = _act(pk, at, quick=True)
        if outcome in (Outcome.UNHEARD, Outcome.HANDED_OVER):
            return
        if outcome is not Outcome.LOST:
            break
    _act(pk, at, quick=False)


class Outcome(Enum):
    """Of one round: another tick stored first, the router did not answer, workers do the rest, the
    rollout moved on, or there is no more to do.
    """

    LOST = auto()
    UNHEARD = auto()
    HANDED_OVER = auto()
    MOVED = auto()
    SETTLED = auto()


def _act(pk: int, at: Moment, *, quick: bool) -> Outcome:
    """One observe → decide → store → apply; ``quick`` decides on what was last seen."""
    read = rows.read(pk)
    seen = rows.last_seen(read.service, "", fresh=True) if quick else observe(read, at)
    before = rows.state_of(read)
    service = read.service
    elapsed = at.since(service.clock_wall, service.clock_mono, service.clock_boot)
    decision = decide(before, seen, elapsed)
    if not rows.store(read, before, decision, at):
        return Outcome.LOST
    pace = platform(service.mesh.platform).pace
    hand_over = quick and pace.remote
    generation = rows.generation_after(before, decision.state)
    heard = apply(service, generation, at, weights_only=hand_over)
    if decision.state != before or decision.said:
        _ring(read)
    again_s = pace.busy_s if rows.timers(decision.state) else pace.idle_s
    again_s = 0.0 if hand_over else again_s
    Service.objects.filter(pk=pk).update(wake_at=at.now + timedelta(seconds=again_s))
    if quick and not heard:
        return Outcome.UNHEARD
    if hand_over:
        return Outcome.HANDED_OVER
    return Outcome.MOVED if place(decision.state) != place(before) else Outcome.SETTLED


def _ring(read: rows.Rows) -> None:
    """Tell the pages. After the push: the broker may be slow, requests must not wait for it."""
    topics = [f"service-{read.service.pk}", "services"]
    if read.rollout is not None:
        topics.insert(0, f"rollout-{read.rollout.pk}")
    for topic in topics:
        if not live.ring(topic):
            break


def observe(read: rows.Rows, at: Moment) -> Seen:
    """Ask the platform and the router; what does not answer is *unknown*, never *no*."""
    service = read.service
    try:
        tasks = platform(service.mesh.platform).observe(service)
    except PlatformError as error:
        log.warning("%s: tasks not seen: %s", service.slug, error)
        seen = rows.last_seen(service, str(error), fresh=False)
    else:
        write_tasks(read, tasks, at)
        seen = Seen(_tasks_seen(tasks), Confirmed(service.generation, Verdict.UNKNOWN))
    try:
        confirmed = router(service.mesh.router).observe(service)
    except RouterError as error:
        confirmed = Confirmed(service.generation, Verdict.UNKNOWN, (str(error),))
    confirmed = _note_confirmed(service, confirmed, at)
    return Seen(seen.tasks, confirmed, seen.fresh, service.trouble, service.trouble_lasts)


def _tasks_seen(
    tasks: Mapping[int, Sequence[PlatformTask]],
) -> Mapping[int, tuple[TaskSeen, ...]]:
    return {
        pk: tuple(
            TaskSeen(task.index, task.state, task.healthy, task.exits, task.reason)
            for task in found
        )
        for pk, found in tasks.items()
    }


def _note_confirmed(service: Service, confirmed: Confirmed, at: Moment) -> Confirmed:
    """Write down that weights are in force; return what may be believed of that now."""
    if confirmed.verdict is not Verdict.YES:
        return confirmed
    of = Route.objects.filter(service=service, generation=confirmed.generation)
    left = _settling_s(service, of, at)
    if left > 0:
        sentence = f"Written and read back; it counts as in force in {left:.0f} s."
        return Confirmed(confirmed.generation, Verdict.NO, (sentence,))
    of.filter(confirmed_at=None).update(confirmed_at=at.now)
    return confirmed


def _settling_s(service: Service, of: QuerySet[Route], at: Moment) -> float:
    """Seconds until weights that were read back count as in force, where nobody proves it."""
    settle_s = router(service.mesh.router).caps.settle_s
    route = of.filter(confirmed_at=None).first() if settle_s else None
    if route is None:
        return 0.0
    if route.read_back_at is None:
        of.filter(read_back_at=None).update(
            read_back_at=at.now, read_back_mono=at.mono, read_back_boot=at.boot
        )
        return settle_s
    seen = route.read_back_at.timestamp()
    return settle_s - at.since(seen, route.read_back_mono, route.read_back_boot)


def write_tasks(read: rows.Rows, tasks: Mapping[int, Sequence[PlatformTask]], at: Moment) -> None:
    """Make the Task rows what the platform reports; writes only what differs."""
    service = read.service
    known = {task.name: task for task in Task.objects.filter(service=service)}
    found = {
        task.name: (pk, task)
        for pk, several in tasks.items()
        for task in several
        if pk in read.versions
    }
    gone = [name for name in known if name not in found]
    changed = [
        _task_row(service, pk, task, at)
        for name, (pk, task) in found.items()
        if name not in known or _differs(known[name], pk, task)
    ]
    if not gone and not changed:
        return
    with transaction.atomic():
        Task.objects.filter(service=service, name__in=gone).delete()
        Task.objects.bulk_create(
            changed, update_conflicts=True, unique_fields=["name"], update_fields=TASK_FIELDS
        )


COMPARED = ["index", "host", "port", "pid", "state", "healthy", "exits", "reason", "log"]
TASK_FIELDS = ["version", *COMPARED, "started_at", "seen_at"]


def _task_row(service: Service, pk: int, task: PlatformTask, at: Moment) -> Task:
    return Task(
        service=service,
        version_id=pk,
        name=task.name,
        index=task.index,
        host=task.host,
        port=task.port,
        pid=task.pid,
        state=task.state,
        healthy=task.healthy,
        exits=task.exits,
        reason=task.reason,
        log=task.log,
        started_at=_instant(task.started_at),
        seen_at=at.now,
    )


def _instant(unix: float | None) -> datetime | None:
    return None if unix is None else datetime.fromtimestamp(unix, UTC)


def _differs(row: Task, pk: int, task: PlatformTask) -> bool:
    return row.version_id != pk or any(getattr(row, f) != getattr(task, f) for f in COMPARED)


def apply(service: Service, generation: int, at: Moment, *, weights_only: bool = False) -> bool:
    """Put in force what is stored *now*, which may be newer than what this tick decided.

    Returns whether the router was heard of. ``weights_only``: leave targets and tasks to a worker.

    The router first, and without a query before it: requests leave a version before its tasks do,
    and somebody may be waiting for them to.
    """
    failed: MeshuiError | None = _apply_weights(service, generation, at)
    heard = failed is None
    if weights_only:
        if failed is not None:
            _note_trouble(service, failed)
        return heard
    now = Service.objects.select_related("mesh").get(pk=service.pk)
    counts = {v: v.count for v in now.versions.filter(count__gt=0)}
    by = router(now.mesh.router)
    try:
        joins = by.ensure_targets(now, list(counts))
        platform(now.mesh.platform).apply(now, counts, revision=now.ticks, joins=joins)
        by.drop_targets(now, list(counts))
    except PlatformStale as error:
        log.info("%s: a newer tick was first: %s", service.slug, error)
        return heard
    except (PlatformError, RouterError) as error:
        log.warning("%s: tasks not applied: %s", service.slug, error)
        failed = failed or error
    _note_trouble(now, failed)
    return heard


def _note_trouble(now: Service, failed: MeshuiError | None) -> None:
    """Keep why the last apply failed: the page says it, and the next decision hears of it."""
    trouble, lasts = (str(failed)[:800], failed.permanent) if failed else ("", False)
    if (trouble, lasts) != (now.trouble, now.trouble_lasts):
        Service.objects.filter(pk=now.pk).update(trouble=trouble, trouble_lasts=lasts)


def _apply_weights(service: Service, generation: int, at: Moment) -> RouterError | None:
    try:
        confirmed = router(service.mesh.router).apply(service, generation, wait_s=WAIT_S)
    except RouterError as error:
        log.warning("%s: weights not applied: %s", service.slug, error)
        return error
    _note_confirmed(service, confirmed, at)
    return None


def beat(name: str, at: Moment, **detail: object) -> None:
    """Say that a part of meshui is alive."""
    Heartbeat.objects.update_or_create(name=name, defaults={"at": at.now, "detail": detail})
