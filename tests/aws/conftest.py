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
def to_fake(aws: Fake, settings: Any) -> Fake:
    """Clients are kept from test to test, as the fake stays where it is: they are slow to make."""
    settings.AWS_ENDPOINT_URL = aws.url
    calls._slow_until.clear()
    return aws


@pytest.fixture
def impatient(to_fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every call is sent once, and its answer is waited for one second."""
    monkeypatch.setattr(calls, "READ_S", {True: 1.0, False: 1.0})
    monkeypatch.setattr(calls, "ATTEMPTS", 1)
    calls.forget()
    yield
    calls.forget()


@pytest.fixture
def ecs_service(db: None, world: fakes.World, to_fake: Fake, client: Any, quick: None) -> Service:
    """A service whose tasks are on the fake AWS, and whose weights are in memory."""
    made = ecs_lay.lay(client)
    to_fake.calls_reset()
    return made
