"""The builder port: where images come from.

``building`` calls it until the build has a digest or has failed. A ``Builder`` does the next thing
and returns; a ``Streamer`` goes on until the end, in the worker of the queue ``build``.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from rollouts.errors import BuildError, InvalidInput
from rollouts.models import Build, Service

REGISTRY = {
    "existing": "rollouts.builders.existing.ExistingImage",
    "codebuild": "rollouts.builders.codebuild.CodeBuildBuilder",
    "docker": "rollouts.builders.docker.DockerBuilder",
}
STREAMED = ("docker",)


@dataclass(frozen=True)
class BuildProgress:
    """Where a build is. ``phase`` as in Build.PHASES; ``lines`` are new ones of its log.

    ``image`` is repository@sha256:… once it is pushed. ``operation`` replaces the column; None
    leaves it. ``again_s``: seconds until the next step.
    """

    phase: str
    lines: Sequence[str] = ()
    image: str = ""
    reason: str = ""
    operation: Mapping[str, Any] | None = None
    again_s: float = 1.0


class Requester(Protocol):
    """What every builder says before anything is built."""

    def check(self, service: Service, source: Mapping[str, Any], archive: bytes | None) -> None:
        """Raise InvalidInput for a wrong field, BuildError when this cannot be built here."""


class Builder(Requester, Protocol):
    def advance(self, build: Build) -> BuildProgress:
        """Do the next thing and return; raises BuildError, AwsError: ``permanent`` fails it."""

    def cancel(self, build: Build) -> None:
        """End what was started elsewhere; harmless when nothing runs. Raises AwsError."""


class Streamer(Requester, Protocol):
    def stream(self, build: Build) -> Generator[BuildProgress, None, None]:
        """Build and push; yield at least every 0.3 s, also when there is nothing to say.

        Closing the iterator ends the work. Raises BuildError.
        """


def builder(kind: str) -> Builder:
    """The builder of a kind that goes step by step; raises BuildError for an unknown one."""
    made: Builder = _made(kind)
    return made


def streamer(kind: str) -> Streamer:
    """The builder of a kind that streams; raises BuildError for an unknown one."""
    made: Streamer = _made(kind)
    return made


def check(kind: str, service: Service, source: Mapping[str, Any], archive: bytes | None) -> None:
    """Raise InvalidInput or BuildError when such a build cannot be asked for."""
    if kind not in REGISTRY:
        raise InvalidInput("kind", "Choose where the image comes from.")
    made: Requester = _made(kind)
    made.check(service, source, archive)


def _made(kind: str) -> Any:
    if kind not in REGISTRY:
        raise BuildError(f"There is no builder of the kind {kind!r}.", permanent=True)
    module, _, name = REGISTRY[kind].rpartition(".")
    return getattr(import_module(module), name)()
