"""The fake AWS as meshui reaches it, and a mesh on it whose stacks are there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rollouts import aws as calls
from rollouts.models import Service
from tests import fakes
from tests.aws import ecs_lay
from tests.fakeaws.control import Fake
from tests.fakeaws.fixtures import aws, aws_server, client, client_of

__all__ = ["aws", "aws_server", "client", "client_of"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an answer that did not come nothing is held back."""
    monkeypatch.setattr(calls, "SLOW_DOWN_S", 0.0)


@pytest.fixture
def to_fake(aws: Fake, settings: Any) -> Iterator[Fake]:
    settings.AWS_ENDPOINT_URL = aws.url
    calls.forget()
    yield aws
    calls.forget()


@pytest.fixture
def ecs_service(db: None, world: fakes.World, to_fake: Fake, client: Any, quick: None) -> Service:
    """A service whose tasks are on the fake AWS, and whose weights are in memory."""
    made = ecs_lay.lay(client)
    to_fake.calls_reset()
    return made
