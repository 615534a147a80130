"""What the machine does with builds of images: one step of the builder at a time, its log as rows.

Called by Celery tasks and by the doors. ``tick_due`` advances builds that go step by step; ``run``
takes one that streams from its beginning to its end, in the worker of the queue ``build``. An image
that is there becomes a version of its service, by its digest. Nothing here waits for a build.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Max

from rollouts import live
from rollouts.builders.base import STREAMED, BuildProgress, builder, streamer
from rollouts.clock import Moment
from rollouts.errors import InvalidInput, MeshuiError
from rollouts.models import Build, BuildLine, Event, Version
from rollouts.models.build import BuildQuerySet

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=30)  # of one step, which makes a few calls; given back when it is done
STREAM_LEASE = timedelta(seconds=15)  # renewed several times a second; a dead worker's runs out
RETRY_S = 2.0
STEPS = 4  # in one tick, while each has more to do at once
GIVE_UP = timedelta(hours=2)  # of errors that may pass by themselves
MOST_LINES = 5000
MOST_CHARACTERS = 1000  # of one line
# Colours and cursor movements of terminals, and other characters that nobody can see.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b.|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def tick_due(at: Moment) -> int:
    """Advance every build that is due and does not stream; return how many."""
    _bury(at)
    pks = list(_stepwise(at).values_list("pk", flat=True))
    return sum(tick_wish(pk, at) for pk in pks)


def tick_wish(pk: int, at: Moment) -> bool:
    """Advance one build now, unless it streams, rests, or somebody else ticks it."""
    if not _stepwise(at).filter(pk=pk).update(lease_until=at.now + LEASE):
        return False
    try:
        tick(pk, at)
    finally:
        Build.objects.filter(pk=pk).update(lease_until=None)
    return True


def _stepwise(at: Moment) -> BuildQuerySet:
    """Due builds that any worker may tick: of a streaming one only the end before its beginning."""
    return Build.objects.live().due(at.now).exclude(kind__in=STREAMED, cancelled=False)


def waiting(at: Moment) -> list[int]:
    """Builds that a worker of the queue ``build`` should take."""
    asked = Build.objects.due(at.now).filter(kind__in=STREAMED, phase="queued", cancelled=False)
    return list(asked.values_list("pk", flat=True))


def _bury(at: Moment) -> None:
    """A streaming build whose lease ran out has nobody: its worker is dead."""
    dead = Build.objects.live().exclude(phase="queued")
    for build in dead.filter(kind__in=STREAMED, lease_until__lte=at.now).defer("archive"):
        reason = "The worker that built it ended. Ask for the build again."
        _store(build, BuildProgress("failed", reason=reason), at)


def tick(pk: int, at: Moment) -> None:
    """Bring one build that goes step by step as far as it can go now."""
    for _ in range(STEPS):
        build = _read(pk)
        if not build.is_live:
            return
        progress = _ended(build) if build.cancelled else _advanced(build, at)
        if not _store(build, progress, at) or progress.again_s:
            return


def _read(pk: int) -> Build:
    return Build.objects.select_related("service__mesh").defer("archive").get(pk=pk)


def _advanced(build: Build, at: Moment) -> BuildProgress:
    try:
        return builder(build.kind).advance(build)
    except MeshuiError as error:
        return _troubled(build, error, at)


def _troubled(build: Build, error: MeshuiError, at: Moment) -> BuildProgress:
    """Where a build is after a step failed: tried again, or not."""
    log.warning("build %s: %s", build.pk, error)
    if error.permanent or at.now - build.created_at > GIVE_UP:
        return BuildProgress("failed", reason=str(error))
    phase = "building" if build.phase == "queued" else build.phase
    return BuildProgress(phase, reason=str(error), again_s=RETRY_S)


def _ended(build: Build) -> BuildProgress:
    """What a cancelled build comes to; tried again until what runs elsewhere is stopped."""
    if build.kind in STREAMED:
        return BuildProgress("cancelled")
    try:
        builder(build.kind).cancel(build)
    except MeshuiError as error:
        log.warning("build %s: %s", build.pk, error)
        if not error.permanent:
            return BuildProgress(build.phase, reason=str(error), again_s=RETRY_S)
    return BuildProgress("cancelled")


# --- builds that stream


def run(pk: int, clock: Callable[[], Moment]) -> None:
    """Build and push; does nothing when another worker has it, or it is no longer wanted."""
    at = clock()
    lease = at.now + STREAM_LEASE
    mine = Build.objects.due(at.now).filter(pk=pk, kind__in=STREAMED, phase="queued")
    if not mine.filter(cancelled=False).update(lease_until=lease, phase="building"):
        return
    build = Build.objects.select_related("service__mesh").get(pk=pk)
    Build.objects.filter(pk=pk).update(started_at=at.now)
    build.started_at = at.now
    _follow(build, lease, clock)


def _follow(build: Build, taken: datetime, clock: Callable[[], Moment]) -> None:
    """Store what the builder says until it ends, is cancelled, or the lease is not ours."""
    lease: datetime | None = taken
    try:
        with closing(streamer(build.kind).stream(build)) as told:
            for progress in told:
                at = clock()
                if not (lease := _renewed(build, lease, at)):
                    log.warning("build %s: somebody else ended it", build.pk)
                    return
                if progress.phase not in Build.FINISHED and _is_cancelled(build):
                    progress = BuildProgress("cancelled", progress.lines)
                if progress.lines or progress.phase != build.phase:
                    _store(build, progress, at)
                build.phase = progress.phase
                if progress.phase in Build.FINISHED:
                    return
    except MeshuiError as error:
        log.warning("build %s: %s", build.pk, error)
        _store(build, BuildProgress("failed", reason=str(error)), clock())


def _renewed(build: Build, lease: datetime | None, at: Moment) -> datetime | None:
    until = at.now + STREAM_LEASE
    ours = Build.objects.live().filter(pk=build.pk, lease_until=lease)
    return until if ours.update(lease_until=until) else None


def _is_cancelled(build: Build) -> bool:
    return Build.objects.filter(pk=build.pk, cancelled=True).exists()


# --- rows


@transaction.atomic
def _store(build: Build, progress: BuildProgress, at: Moment) -> bool:
    """Write the facts and the new lines; False when the build has ended meanwhile."""
    progress, version = _with_version(build, replace(progress, reason=_clean(progress.reason)))
    ended = progress.phase in Build.FINISHED
    operation = {} if progress.operation is None else {"operation": dict(progress.operation)}
    again = at.now + timedelta(seconds=progress.again_s)
    wrote = Build.objects.live().filter(pk=build.pk).update(
        **operation,
        phase=progress.phase,
        reason=progress.reason,
        image=progress.image,
        digest=progress.image.rpartition("@")[2],
        version=version,
        started_at=build.started_at or at.now,
        finished_at=at.now if ended else None,
        wake_at=None if ended else again,
        **({"archive": None, "lease_until": None} if ended else {}),
    )  # fmt: skip
    if not wrote:
        transaction.set_rollback(True)  # a version that was made a moment ago goes, too
        return False
    _write(build, progress.lines, at)
    if ended:
        _say(build, progress, at)
    transaction.on_commit(lambda: _ring(build))
    return True


def _ring(build: Build) -> None:
    live.ring(f"build-{build.pk}")
    live.ring(f"service-{build.service_id}")


def _with_version(build: Build, progress: BuildProgress) -> tuple[BuildProgress, Version | None]:
    """The version of an image that is there; a label that was taken meanwhile fails the build."""
    if progress.phase != "succeeded":
        return progress, None
    digest = progress.image.rpartition("@")[2]
    try:
        with transaction.atomic():
            if taken := build.service.versions.filter(label__iexact=build.label).first():
                raise InvalidInput("label", f"{build.service.slug} has a version {taken} already.")
            made = Version.objects.add(
                build.service, label=build.label, digest=digest, image=progress.image,
                note=build.note, created_by=build.created_by,
            )  # fmt: skip
    except (InvalidInput, IntegrityError) as error:
        why = (
            str(error) if isinstance(error, InvalidInput) else f"{build.label} was taken just now."
        )
        reason = f"{why} The image is there as {digest}: add it under another label."
        return BuildProgress("failed", progress.lines, progress.image, reason), None
    return progress, made


def _write(build: Build, lines: Sequence[str], at: Moment) -> None:
    """Append lines, whole but not endless; what is too much is said once."""
    if not lines:
        return
    last = build.lines.aggregate(last=Max("number"))["last"] or 0
    fitting = [_visible(line) for line in lines[: max(0, MOST_LINES - last)]]
    if len(fitting) < len(lines) and last <= MOST_LINES:
        fitting.append("… the log is longer than what is kept.")
    BuildLine.objects.bulk_create(
        BuildLine(build=build, number=number, at=at.now, text=text)
        for number, text in enumerate(fitting, last + 1)
    )


def _visible(line: str) -> str:
    """The line as it stood on a screen: a carriage return begins it again."""
    return _clean(line.rstrip("\r\n").rpartition("\r")[2])


def _clean(text: str) -> str:
    text = _ESCAPES.sub("", text)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"


def _say(build: Build, progress: BuildProgress, at: Moment) -> None:
    words = {
        "succeeded": f"made the version {build.label}",
        "failed": f"failed to make {build.label}",
        "cancelled": f"was cancelled, of {build.label}",
    }
    Event.objects.create(
        at=at.now,
        mesh=build.service.mesh,
        service=build.service,
        verb=f"build-{progress.phase}",
        text=f"Build #{build.pk} {words[progress.phase]}.",
        reason=progress.reason,
        after={"build": build.pk, "image": progress.image},
        severity="error" if progress.phase == "failed" else "info",
    )
