"""Pytest fixtures of the fake AWS: ``aws`` (reset for each test) and ``client``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.fakeaws import world
from tests.fakeaws.control import Fake
from tests.fakeaws.server import Server

REGION = "eu-central-1"


@pytest.fixture(scope="session")
def aws_server() -> Iterator[Server]:
    """One fake AWS for all tests of this process."""
    world.read_speeds(task=0.05, stack=0.0)
    server = Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def aws(aws_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """An empty fake AWS; boto3 clients of this test reach it without being told."""
    world.read_speeds(task=0.05, stack=0.0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws_server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "fake")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "fake")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    fake = Fake(aws_server.url)
    fake.reset()
    yield fake
    fake.reset()


@pytest.fixture(scope="session")
def client_of(aws_server: Server) -> Callable[[str], Any]:
    """Clients are slow to make and forget nothing of a test."""
    session = boto3.session.Session("fake", "fake", region_name=REGION)
    made: dict[str, Any] = {}

    def of(service: str) -> Any:
        if service not in made:
            config = Config(
                inject_host_prefix=False,
                retries={"total_max_attempts": 1, "mode": "standard"},
                connect_timeout=2,
                read_timeout=5,
            )
            made[service] = session.client(
                service,  # type: ignore[call-overload]
                endpoint_url=aws_server.url,
                config=config,
            )
        return made[service]

    return of


@pytest.fixture
def client(aws: Fake, client_of: Callable[[str], Any]) -> Callable[[str], Any]:
    """``client("ecs")``: a boto3 client of the fake. One attempt, short time-outs."""
    return client_of
