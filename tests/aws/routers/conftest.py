"""A service whose weights are on the fake AWS and whose tasks are in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from rollouts import aws as calls
from rollouts.models import Mesh, Service
from rollouts.routers import appmesh
from rollouts.routers.alb import AlbRouter
from rollouts.routers.appmesh import AppMeshRouter
from tests import fakes
from tests.aws.routers import lay
from tests.aws.routers.side import SIDES, Side
from tests.fakeaws.control import Fake
from tests.fakeaws.fixtures import aws, aws_server, client, client_of

__all__ = ["aws", "aws_server", "client", "client_of"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights count as in force at once, and an answer that does not come is not waited for."""
    monkeypatch.setattr(calls, "READ_S", {True: 1.0, False: 1.0})
    monkeypatch.setattr(calls, "SLOW_DOWN_S", 0.0)
    for router in (AppMeshRouter, AlbRouter):
        at_once = replace(router.caps, settle_s=0.0, hold_before_scale_in_s=0.0)
        monkeypatch.setattr(router, "caps", at_once)


@pytest.fixture
def to_fake(aws: Fake, settings: Any) -> Iterator[Fake]:
    settings.AWS_ENDPOINT_URL = aws.url
    calls.forget()
    appmesh.forget()
    yield aws
    calls.forget()


@pytest.fixture(params=["appmesh", "alb"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def service(
    db: None, world: fakes.World, kind: str, to_fake: Fake, client: Any, quick: None
) -> Service:
    made = lay.service(kind)
    lay.LAY[kind](client, made.mesh)
    to_fake.calls_reset()
    return made


@pytest.fixture
def mesh(service: Service) -> Mesh:
    return service.mesh


@pytest.fixture
def side(kind: str, client: Any, to_fake: Fake, service: Service) -> Side:
    """AWS as an outsider sees and changes it."""
    return SIDES[kind](client, to_fake, service)
