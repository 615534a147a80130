"""A builder that streams what a test tells it to, in the place of the Docker engine."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

from rollouts.builders.base import BuildProgress
from rollouts.models import Build, Service

Step = BuildProgress | Callable[[], None] | Exception
IMAGE = "127.0.0.1:5000/shop/echo_server@sha256:" + "cd" * 32


class Puppet:
    """``steps``: what comes next: progress, something to do in between, an error to raise."""

    steps: list[Step] = []
    closed = False

    def check(self, service: Service, source: Mapping[str, Any], archive: bytes | None) -> None:
        """Anything can be asked for."""

    def stream(self, build: Build) -> Generator[BuildProgress, None, None]:
        try:
            for step in type(self).steps:
                if isinstance(step, BuildProgress):
                    yield step
                elif isinstance(step, Exception):
                    raise step
                else:
                    step()
        finally:
            type(self).closed = True
