"""Rows to the mesh that is served, and what proxies say back to rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rollouts.models import Acknowledgement, Proxy, Service, Task, Version
from rollouts.xds import source
from rollouts.xds.proxies import ProxyState
from rollouts.xds.server import ControlPlane
from rollouts.xds.snapshot import Endpoint


@pytest.fixture
def served(service: Service, version: Any, clock: Any) -> Service:
    """0.9 with two tasks, the second draining, at 100 %."""
    service.mesh.router = "envoy"
    service.mesh.save()
    old = version("0.9")
    Version.objects.filter(pk=old.pk).update(count=2, keep=1)
    for index in (0, 1):
        Task.objects.create(
            service=service, version=old, name=f"t{index}", index=index, host="127.0.0.1",
            port=7000 + index, state="running", seen_at=clock.moment.now,
        )  # fmt: skip
    Service.objects.filter(pk=service.pk).update(
        stable=old, weights={str(old.pk): 100}, generation=4
    )
    return service


def test_rows_become_the_mesh(served: Service, version: Any) -> None:
    mesh = source.load("shop")
    assert mesh is not None
    (virtual,) = mesh.services
    target = version("0.9").target
    assert (virtual.weights, virtual.generation, virtual.stable) == ({target: 100}, 4, target)
    assert virtual.targets[0].endpoints == (
        Endpoint("127.0.0.1", 7000),
        Endpoint("127.0.0.1", 7001, draining=True),
    )


def test_a_version_without_tasks_is_no_target(served: Service, version: Any) -> None:
    mesh = source.load("shop")
    assert mesh is not None
    assert [t.name for t in mesh.services[0].targets] == [version("0.9").target]


def test_loading_takes_a_constant_number_of_queries(
    served: Service, django_assert_num_queries: Any
) -> None:
    for n in range(5):
        Service.objects.create(mesh=served.mesh, slug=f"more-{n}", name=f"more-{n}.local")
    with django_assert_num_queries(4):
        source.load("shop")


def test_one_service_alone_is_read_as_in_its_mesh(served: Service) -> None:
    mesh = source.load("shop")
    assert mesh is not None
    assert (source.load_service("shop", served.name),) == mesh.services


def test_one_service_is_read_in_three_queries(
    served: Service, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(3):
        source.load_service("shop", served.name)


def test_an_unknown_service_is_none(served: Service) -> None:
    assert source.load_service("shop", "nobody.local") is None
    assert source.load_service("nowhere", served.name) is None


def test_an_unknown_mesh_is_none(db: None) -> None:
    assert source.load("nowhere") is None


def test_what_proxies_say_becomes_rows(served: Service, clock: Any) -> None:
    now = clock.moment.now
    said = ProxyState("envoy-1", "shop", True, now, None, {served.name: 4}, True, None, now)
    source.write([said], now)
    source.write([said], now)
    assert Acknowledgement.objects.get().generation == 4
    assert Proxy.objects.get().connected


def test_a_proxy_from_before_a_restart_is_not_forgotten(served: Service, clock: Any) -> None:
    now = clock.moment.now
    said = ProxyState("envoy-1", "shop", True, now, None, {served.name: 4}, True, None, now)
    source.write([said], now)
    plane = ControlPlane(now=lambda: now)
    plane.remember(source.known_proxies(now))
    (known,) = plane.proxies("shop")
    assert (known.node, known.connected, known.generations) == ("envoy-1", False, {})


def test_it_is_forgotten_after_a_minute(served: Service, clock: Any) -> None:
    now = clock.moment.now
    gone = ProxyState("envoy-1", "shop", False, now, now, {}, False, None, now)
    source.write([gone], now)
    plane = ControlPlane(now=lambda: now + timedelta(seconds=61))
    plane.remember(source.known_proxies(now))
    assert plane.proxies("shop") == []


def test_the_fingerprint_changes_with_weights_and_tasks(served: Service) -> None:
    before = source.fingerprint()
    assert source.fingerprint() == before
    Task.objects.filter(name="t0").update(port=7009)
    assert source.fingerprint() != before


def test_newer_weights_are_one_query_away(
    served: Service, version: Any, django_assert_num_queries: Any
) -> None:
    known = source.load_service("shop", served.name)
    assert known is not None
    assert source.newer_weights("shop", known) is None
    Service.objects.filter(pk=served.pk).update(weights={}, generation=5)
    with django_assert_num_queries(1):
        newer = source.newer_weights("shop", known)
    assert newer == source.load_service("shop", served.name)


def test_weights_of_an_unknown_version_need_a_whole_read(served: Service, version: Any) -> None:
    known = source.load_service("shop", served.name)
    assert known is not None
    new = str(version("1.0").pk)
    Service.objects.filter(pk=served.pk).update(weights={new: 100}, generation=5)
    assert source.newer_weights("shop", known) is None
