"""A service of a mesh on the fake AWS, with a repository and a CodeBuild project."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from rollouts import aws as our_aws
from rollouts import building
from rollouts.actions import Ask, request_build
from rollouts.clock import Moment, moment
from rollouts.models import Build, Mesh, Service, Stack
from tests.conftest import person
from tests.fakeaws.control import Fake
from tests.fakeaws.fixtures import aws, aws_server, client

__all__ = ["aws", "aws_server", "client"]  # fixtures; pytest finds them by name
REGION = "eu-west-1"
NAME = "shop/echo_server"
URI = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/{NAME}"
PROJECT = "shop-images"


@pytest.fixture
def service(transactional_db: None) -> Service:
    """No AWS yet: its repository is an output."""
    mesh = Mesh.objects.create(
        slug="shop", name="shop", platform="ecs", settings={"region": REGION}
    )
    outputs = {"EchoServerRepository": URI, "ImageBuilder": PROJECT}
    Stack.objects.create(mesh=mesh, name="infra", kind="cloudformation", outputs=outputs)
    return Service.objects.create(mesh=mesh, slug="echo-server", name="echo_server.shop.local")


@pytest.fixture
def fake(aws: Fake, settings: Any, service: Service) -> Iterator[Fake]:
    settings.AWS_ENDPOINT_URL = aws.url
    our_aws.forget()
    account = our_aws.account_of(service.mesh.settings)
    our_aws.call(account, "ecr", "create_repository", repositoryName=NAME,
                 imageTagMutability="IMMUTABLE")  # fmt: skip
    our_aws.call(
        account, "codebuild", "create_project",
        name=PROJECT, serviceRole="arn:aws:iam::123456789012:role/build",
        source={"type": "NO_SOURCE", "location": "none"}, artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "computeType": "BUILD_GENERAL1_SMALL",
                     "image": "aws/codebuild/standard:7.0"},
        logsConfig={"cloudWatchLogs": {"status": "ENABLED", "groupName": "shop",
                                       "streamName": "images"}},
    )  # fmt: skip
    aws.calls_reset()
    yield aws
    our_aws.forget()


@pytest.fixture
def later() -> Callable[..., Moment]:
    """The present moment, some seconds later."""
    return lambda seconds=0.0: replace(moment(), now=timezone.now() + timedelta(seconds=seconds))


@pytest.fixture
def request_(service: Service) -> Callable[..., Build]:
    """Ask for a build as an operator does."""
    operator = person("operator", "operate_service")

    def ask(kind: str, label: str = "2.0", archive: bytes | None = None, **source: Any) -> Build:
        return request_build(
            service, kind=kind, label=label, source=source, archive=archive,
            ask=Ask(operator, "web", timezone.now()),
        )  # fmt: skip

    return ask


@pytest.fixture
def ticks(later: Callable[..., Moment]) -> Callable[..., Build]:
    """Tick until the build is in the phase, in a world where time flies."""

    def until(build: Build, *phases: str, within_s: float = 20.0) -> Build:
        began, number = time.monotonic(), 0
        while time.monotonic() - began < within_s:
            building.tick_due(later(number * 3))
            build.refresh_from_db()
            if build.phase in (phases or Build.FINISHED):
                return build
            number += 1
            time.sleep(0.01)  # the fake goes by the real clock
        raise AssertionError(f"it is {build.phase}, not {phases}: {build.reason}")

    return until


def log_of(build: Build) -> list[str]:
    return list(build.lines.values_list("text", flat=True))
