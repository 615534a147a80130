"""The builder with a Docker engine: what to build, as a stream. The engine itself is ``engine``.

``check`` runs in the web process and must not reach the engine: a socket of an engine is root on
its machine. ``stream`` runs in the worker of the queue ``build`` only.
"""

from __future__ import annotations

import base64
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from rollouts import aws
from rollouts.builders import context
from rollouts.builders.base import BuildProgress
from rollouts.builders.repository import push_uri, tag_of
from rollouts.errors import BuildError, InvalidInput
from rollouts.models import Build, Service

SAMPLE, UPLOAD = "sample", "upload"


@dataclass(frozen=True)
class Recipe:
    """All that an engine needs: a tarball, its Dockerfile, build arguments (never secrets)."""

    context: bytes
    dockerfile: str
    arguments: Mapping[str, str]
    repository: str
    tag: str
    login: Mapping[str, str] | None


class DockerBuilder:
    """``source``: {"context": sample or upload, "dockerfile": path in the upload}."""

    def check(self, service: Service, source: Mapping[str, Any], archive: bytes | None) -> None:
        if not settings.DOCKER_HOST:
            raise InvalidInput("kind", "No Docker engine is set: MESHUI_DOCKER_HOST names one.")
        push_uri(service)
        if source.get("context") == UPLOAD:
            if not archive:
                raise InvalidInput("archive", "Choose a tarball with a Dockerfile.")
            context.checked(archive, _dockerfile(source))
        elif source.get("context") != SAMPLE:
            raise InvalidInput("context", "Choose what to build.")

    def stream(self, build: Build) -> Generator[BuildProgress, None, None]:
        from rollouts.builders.engine import build_and_push  # docker-py: in this worker only

        yield from build_and_push(recipe(build))


def recipe(build: Build) -> Recipe:
    """What to build, from the row; raises BuildError, AwsError."""
    sample = build.source.get("context") == SAMPLE
    if sample:
        tarball, dockerfile = context.sample(), context.SAMPLE_DOCKERFILE
    elif build.archive:
        dockerfile = _dockerfile(build.source)
        tarball = context.checked(bytes(build.archive), dockerfile)
    else:
        raise BuildError("The uploaded context is not there any more.", permanent=True)
    return Recipe(
        context=tarball,
        dockerfile=dockerfile,
        arguments=_arguments(build) if sample else {"VERSION": build.label},
        repository=push_uri(build.service),
        tag=tag_of(build),
        login=_login(build.service),
    )


def _dockerfile(source: Mapping[str, Any]) -> str:
    return context.dockerfile_path(str(source.get("dockerfile") or "Dockerfile"))


def _arguments(build: Build) -> dict[str, str]:
    client = build.service.name.startswith("echo_client")
    base = {"BASE": settings.BUILD_BASE_IMAGE} if settings.BUILD_BASE_IMAGE else {}
    return base | {"VERSION": build.label, "PROGRAM": "client" if client else "server"}


def _login(service: Service) -> dict[str, str] | None:
    """A token of ECR, good for 12 hours; none for a registry of one's own."""
    if settings.REGISTRY:
        return None
    account = aws.account_of(service.mesh.settings)
    told = aws.call(account, "ecr", "get_authorization_token")["authorizationData"][0]
    name, _, password = base64.b64decode(told["authorizationToken"]).decode().partition(":")
    return {"username": name, "password": password}
