"""Meshes whose proxies stand beside tasks elsewhere, as rows."""

from typing import Any

import pytest

from rollouts.errors import InvalidMesh
from rollouts.models import Acknowledgement, Mesh, Service
from rollouts.xds import source
from rollouts.xds.proxies import ProxyState
from rollouts.xds.snapshot import Address


@pytest.fixture
def remote(db: None) -> Mesh:
    chosen = {"control_plane": "XDS.echo.local:18001"}
    return Mesh.objects.create(slug="far", name="far", platform="ecs", settings=chosen)


def loaded(slug: str) -> Any:
    mesh = source.load(slug)
    assert mesh is not None
    return mesh


def test_it_has_no_way_in_and_its_tasks_have_a_way_out(remote):
    mesh = loaded("far")
    assert (mesh.public, mesh.egress) == (None, Address("127.0.0.1", 15001))


def test_settings_may_name_both(remote):
    remote.settings |= {"public": "0.0.0.0:80", "egress": "127.0.0.1:16001"}
    remote.save()
    mesh = loaded("far")
    assert mesh.public == Address("0.0.0.0", 80)
    assert mesh.egress == Address("127.0.0.1", 16001)


@pytest.mark.parametrize("wrong", ["15001", "localhost:15001", "127.0.0.1:", "127.0.0.1:0", ":::"])
def test_an_address_that_is_none_is_refused_with_a_sentence(remote, wrong):
    remote.settings |= {"egress": wrong}
    remote.save()
    with pytest.raises(InvalidMesh, match="far: egress must be an IP address and port"):
        source.load("far")


def test_the_control_plane_has_the_names_that_meshes_call_it_by(remote, service: Service):
    service.mesh.settings |= {"control_plane": "local.example.com:1"}
    service.mesh.save()
    for slug, address in {"one": "10.0.0.1:18001", "odd": "no port", "odd2": "a b:1"}.items():
        Mesh.objects.create(
            slug=slug, name=slug, platform="ecs", settings={"control_plane": address}
        )
    assert source.control_plane_names() == ["10.0.0.1", "xds.echo.local"]


def test_a_name_that_two_meshes_use_is_acknowledged_in_its_own(
    remote, service: Service, clock: Any
):
    there = Service.objects.create(mesh=remote, slug="there", name=service.name)
    now = clock.moment.now
    source.write([ProxyState("a/1", "far", True, now, None, {there.name: 7}, True, None, now)], now)
    assert Acknowledgement.objects.get().service == there
    source.write([ProxyState("n", "shop", True, now, None, {there.name: 3}, True, None, now)], now)
    said = Acknowledgement.objects.values_list("service", "generation").order_by("generation")
    assert list(said) == [(service.pk, 3), (there.pk, 7)]


def test_newer_weights_are_those_of_the_mesh_that_is_asked_for(remote, service: Service):
    Service.objects.create(mesh=remote, slug="there", name=service.name, generation=9)
    known = source.load_service(service.mesh.slug, service.name)
    assert known is not None
    assert source.newer_weights(service.mesh.slug, known) is None
