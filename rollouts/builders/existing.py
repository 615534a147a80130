"""The builder of images that exist: finds a tag or digest in the repository of the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rollouts.builders.base import BuildProgress
from rollouts.builders.repository import DIGEST, TAG, image, repository
from rollouts.errors import AwsGone, BuildError, InvalidInput
from rollouts.models import Build, Service


class ExistingImage:
    """``source``: {"image": a tag, or sha256:…}."""

    def check(self, service: Service, source: Mapping[str, Any], archive: bytes | None) -> None:
        wanted = str(source.get("image", ""))
        if not (DIGEST.fullmatch(wanted) or TAG.fullmatch(wanted)):
            raise InvalidInput("image", "Name an image: a tag as in 1.0, or sha256:… with 64 "
                               "hexadecimal digits.")  # fmt: skip
        repository(service)

    def advance(self, build: Build) -> BuildProgress:
        wanted = str(build.source.get("image", ""))
        held = repository(build.service)
        by = {"digest": wanted} if DIGEST.fullmatch(wanted) else {"tag": wanted}
        try:
            found = image(held, **by)
        except AwsGone as error:
            raise BuildError(
                f"There is no image {wanted} in {held.name}. Was it pushed?", permanent=True
            ) from error
        tags = f", tagged {', '.join(found.tags)}" if found.tags else ""
        lines = [f"Found {found.digest} in {held.uri}{tags}."]
        return BuildProgress("succeeded", lines, image=f"{held.uri}@{found.digest}")

    def cancel(self, build: Build) -> None:
        """Nothing runs elsewhere."""
