"""The builder port: where images come from.

``building`` calls it until the build has a digest or has failed. Each call does the next thing and
returns; a builder that has to stream (``docker``) runs in the worker of the queue ``build``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

from rollouts.errors import BuildError
from rollouts.models import Build

REGISTRY = {
    "existing": "rollouts.builders.existing.ExistingImage",
    "codebuild": "rollouts.builders.codebuild.CodeBuildBuilder",
    "docker": "rollouts.builders.docker.DockerBuilder",
}


@dataclass(frozen=True)
class BuildProgress:
    """Where a build is. ``phase`` as in Build.PHASES; ``lines`` are new ones of its log.

    ``image`` is repository@sha256:… once it is pushed. ``operation`` replaces the column.
    """

    phase: str
    lines: Sequence[str] = ()
    image: str = ""
    reason: str = ""
    operation: Mapping[str, Any] = field(default_factory=dict)
    again_s: float = 1.0


class Builder(Protocol):
    streams: bool  # advance goes on until the end, in a worker of its own

    def advance(self, build: Build) -> BuildProgress:
        """Do the next thing and return; raises BuildError, ``permanent`` ones fail the build."""


def builder(kind: str) -> Builder:
    """The builder of this kind; raises BuildError for an unknown one."""
    if kind not in REGISTRY:
        raise BuildError(f"There is no builder of the kind {kind!r}.", permanent=True)
    module, _, name = REGISTRY[kind].rpartition(".")
    made: Builder = getattr(import_module(module), name)()
    return made
