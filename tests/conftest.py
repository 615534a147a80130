"""Fixtures for everything that touches rows: a mesh of fakes, its service, people, a clock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.utils import timezone

from rollouts import reconcile
from rollouts.actions import Ask
from rollouts.clock import Moment
from rollouts.models import Mesh, Service, Version
from rollouts.platforms import base as platforms
from rollouts.routers import base as routers
from tests import fakes


def pytest_sessionfinish() -> None:
    """Django removes the test database; SQLite's companions of it may still be there."""
    for left in settings.STATE.glob(f"test-{os.getpid()}.sqlite3*"):
        left.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """PostgreSQL keeps a database that somebody uses, and threads of event loops may still do."""
    yield
    with django_db_blocker.unblock():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> fakes.World:
    monkeypatch.setitem(platforms.REGISTRY, "fake", "tests.fakes.FakePlatform")
    monkeypatch.setitem(routers.REGISTRY, "fake", "tests.fakes.FakeRouter")
    return fakes.reset()


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.moment = Moment(timezone.now(), 1000.0, "boot-1")

    def pass_(self, seconds: float) -> Moment:
        at = self.moment
        later = at.now + timedelta(seconds=seconds)
        self.moment = replace(at, now=later, mono=at.mono + seconds)
        return self.moment


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mesh(db: None, world: fakes.World) -> Mesh:
    return Mesh.objects.create(slug="shop", name="shop", platform="fake", router="fake")


@pytest.fixture
def service(mesh: Mesh) -> Service:
    """A service with the versions 0.9, 1.0 and 1.1, none of them deployed."""
    made = Service.objects.create(mesh=mesh, slug="greeter", name="greeter.shop.local")
    for label in ("0.9", "1.0", "1.1"):
        Version.objects.add(made, label=label, digest=f"sha256:{label}", command=["serve", label])
    return made


@pytest.fixture
def version(service: Service) -> Callable[[str], Version]:
    return lambda label: service.versions.get(label=label)


def person(name: str, *permissions: str) -> User:
    user = User.objects.create_user(name, password="correct horse")
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return User.objects.get(pk=user.pk)


@pytest.fixture
def operator(db: None) -> User:
    return person("operator", "operate_service", "rollback_rollout", "provision_mesh")


@pytest.fixture
def viewer(db: None) -> User:
    return person("viewer")


@pytest.fixture
def ask(operator: User, clock: Clock) -> Callable[..., Ask]:
    def make(**fields: object) -> Ask:
        return replace(Ask(operator, "web", clock.moment.now), **fields)  # type: ignore[arg-type]

    return make


@pytest.fixture
def tick(clock: Clock, service: Service) -> Callable[..., Service]:
    """Tick the service ``times`` times, ``seconds`` apart; return it as it is then."""

    def run(seconds: float = 0.0, times: int = 1) -> Service:
        for _ in range(times):
            reconcile.tick(service.pk, clock.pass_(seconds))
        return Service.objects.select_related("mesh", "stable").get(pk=service.pk)

    return run
