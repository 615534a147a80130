"""What a person may do with builds of images: wishes; ticks and the build worker do the work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from rollouts.actions.ask import Ask, permit, record, repeated, validated
from rollouts.actions.rollouts import OPERATE
from rollouts.builders.base import check
from rollouts.errors import ActionRefused, BuildError, InvalidInput
from rollouts.models import Build, Service


def request_build(
    service: Service,
    *,
    kind: str,
    label: str,
    ask: Ask,
    source: Mapping[str, Any] | None = None,
    archive: bytes | None = None,
    note: str = "",
) -> Build:
    """Ask for an image to become the version ``label``. Raises InvalidInput, ActionRefused.

    ``kind`` as in builders.base; ``source`` as the builder of that kind describes it; ``archive``
    is an uploaded context, a tarball.
    """
    permit(ask, OPERATE)
    if (event := repeated(ask, "build")) is not None:
        return Build.objects.get(pk=(event.after or {})["build"])
    if service.mesh.platform != "ecs":
        raise ActionRefused(
            f"{service.slug} runs as processes of this machine, not as images: add a version."
        )
    build = Build(
        service=service, kind=kind, label=label, source=dict(source or {}), archive=archive,
        note=note, created_by=ask.by, created_at=ask.now, wake_at=ask.now,
    )  # fmt: skip
    validated(build)
    _label_is_free(service, label)
    try:
        check(kind, service, build.source, archive)
    except BuildError as error:
        raise ActionRefused(str(error)) from error
    with transaction.atomic():
        build.save()
        record(ask, "build", f"asked for a build of {label} ({kind})", mesh=service.mesh,
               service=service, after={"build": build.pk})  # fmt: skip
    return build


def _label_is_free(service: Service, label: str) -> None:
    """Looked at here so that nobody waits in vain; decided when the image is there."""
    taken = service.versions.filter(label__iexact=label).first()
    if taken is not None:
        raise InvalidInput("label", f"{service.slug} has a version {taken} already.")
    under_way = service.builds.live().filter(label__iexact=label).first()
    if under_way is not None:
        raise InvalidInput("label", f"Build #{under_way.pk} makes {under_way.label} right now.")


def cancel_build(build: Build, *, ask: Ask) -> None:
    """Ask for a build to end; no version comes of it, unless its image is there already."""
    permit(ask, OPERATE)
    if repeated(ask, "cancel-build") is not None:
        return
    with transaction.atomic():
        asked = Build.objects.live().filter(pk=build.pk, cancelled=False)
        if not asked.update(cancelled=True, wake_at=ask.now):
            now = Build.objects.defer("archive").get(pk=build.pk)
            words = "is being cancelled" if now.is_live else f"has {now.phase}"
            words = "is cancelled" if now.phase == "cancelled" else words
            raise ActionRefused(f"Build #{build.pk} {words} already.")
        text = f"asked to cancel build #{build.pk} of {build.label}"
        record(ask, "cancel-build", text, mesh=build.service.mesh, service=build.service,
               after={"build": build.pk})  # fmt: skip
