"""The listener for proxies elsewhere: TLS, a certificate, and nothing but what it names."""

import asyncio
import contextlib
import logging
from typing import Any

import grpc
import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rollouts.errors import InvalidInput
from rollouts.xds import peers
from rollouts.xds.server import ControlPlane
from rollouts.xds.snapshot import snapshot
from rollouts.xds.tls import RENEW_AFTER, ServerCertificate
from rollouts.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from tests.envoy import until
from tests.xds.certificates import SERVICE, Certificates, channel, now
from tests.xds.shop import NAME, NEW, OLD, mesh, service, shifted, target
from tests.xds.test_server import ads, proxies

MESH = mesh(service(target(OLD, 1), target(NEW, 2), weights={OLD: 100, NEW: 0}), public=8080)
ASKED = {CLUSTER: [], ENDPOINTS: [OLD, NEW], LISTENER: [], ROUTES: ["egress", "public"]}
SYNC = "/meshui.control.v1.ControlPlane/Sync"


class World:
    """A control plane with both listeners, and certificates."""

    def __init__(self, folder):
        self.certificates = Certificates.in_folder(folder)
        self.ca = self.certificates.ours.trusted(now=now())
        # So that the certificate that replaces the first one begins now.
        self.time = now() - RENEW_AFTER
        self.server = ServerCertificate(self.certificates.ours, ["127.0.0.1"], lambda: self.time)
        self.plane = ControlPlane(now=now)
        self.plane.set_snapshot("shop", snapshot(MESH))

    async def start(self):
        self.plain = await self.plane.start("127.0.0.1:0")
        self.port = await self.plane.start_guarded(
            "127.0.0.1:0", self.server.credentials(), peers.admit
        )

    def channel(self, identity, host="127.0.0.1"):
        return channel(self.port, identity, self.ca, host)


@pytest.fixture
async def world(tmp_path):
    made = World(tmp_path)
    await made.start()
    try:
        yield made
    finally:
        await made.plane.stop()


def first(node="n1", of="shop", loopback=None, **metadata):
    """The first request of a sidecar."""
    said = DiscoveryRequest(type_url=CLUSTER)
    said.node.id, said.node.cluster = node, of
    said.node.metadata.update(metadata or {"service": SERVICE})
    if loopback is not None:
        said.node.metadata["loopback"] = loopback
    return said


async def converse(world, identity, opening, heard):
    """Ask for everything and accept it, until cancelled."""
    said: asyncio.Queue[DiscoveryRequest] = asyncio.Queue()
    said.put_nowait(opening)
    for kind, names in ASKED.items():
        if kind != CLUSTER:
            said.put_nowait(DiscoveryRequest(type_url=kind, resource_names=names))

    async def requests():
        while True:
            yield await said.get()

    async with world.channel(identity) as to:
        async for response in ads(to)(requests()):
            heard[response.type_url] = list(response.resources)
            said.put_nowait(
                DiscoveryRequest(
                    type_url=response.type_url,
                    resource_names=ASKED[response.type_url],
                    version_info=response.version_info,
                    response_nonce=response.nonce,
                )
            )


@contextlib.asynccontextmanager
async def sidecar(world, opening=None):
    heard: dict[str, list[Any]] = {}
    opening = opening or first()
    task = asyncio.create_task(converse(world, world.certificates.good(), opening, heard))
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def refusal(world, identity, opening=None):
    """Why a stream ends: its status. It says one thing only and then waits for the answer."""

    async def requests():
        yield opening or first()
        await asyncio.Event().wait()

    async with world.channel(identity) as to:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asyncio.wait_for(anext(aiter(ads(to)(requests()))), 5.0)
    return refused.value


def listeners(heard):
    made = []
    for packed in heard[LISTENER]:
        listener = Listener()
        assert packed.Unpack(listener)
        made.append((listener.name, listener.address.socket_address.address))
    return made


async def test_a_sidecar_gets_the_way_out_and_no_way_in(world):
    async with sidecar(world) as heard:
        (state,) = await world.plane.settle("shop", 5.0)
        assert (state.node, state.synced, state.generations) == (f"{SERVICE}/n1", True, {NAME: 1})
    assert listeners(heard) == [("egress", "127.0.0.1")]
    assert len(heard[ROUTES]) == 1
    assert len(heard[CLUSTER]) == 3


async def test_its_listener_is_on_its_own_loopback_address(world):
    async with sidecar(world, first(loopback="127.77.0.2")) as heard:
        (state,) = await world.plane.settle("shop", 5.0)
        assert state.synced
    assert listeners(heard) == [("egress", "127.77.0.2")]


async def test_proxies_of_both_listeners_confirm_new_weights(world):
    async with sidecar(world), proxies(world.plain, "n1"):
        await until(lambda: len(world.plane.proxies("shop")) == 2)
        world.plane.set_snapshot("shop", snapshot(shifted(MESH, 50, 50, 2)))
        states = await world.plane.confirm("shop", NAME, 2, 5.0)
        assert {s.node: s.generations for s in states} == {
            f"{SERVICE}/n1": {NAME: 2},
            "n1": {NAME: 2},
        }


@pytest.mark.parametrize(
    ("opening", "sentence"),
    [
        (first(of="other"), "The certificate is for mesh shop, not for 'other'."),
        (first(service="back"), f"The certificate is for service {SERVICE}, not for 'back'."),
        (first(other=1), f"The certificate is for service {SERVICE}, not for None."),
        (first(service=7), f"The certificate is for service {SERVICE}, not for 7.0."),
        (first(node=""), "The node's id must be 1 to 60 printable characters."),
        (first(node="x" * 61), "The node's id must be 1 to 60 printable characters."),
        (first(loopback="10.0.0.1"), "The node's loopback address is '10.0.0.1', which is none."),
    ],
)
async def test_a_node_that_is_not_what_its_certificate_names_is_refused(world, opening, sentence):
    refused = await refusal(world, world.certificates.good(), opening)
    assert refused.code() == grpc.StatusCode.PERMISSION_DENIED
    assert refused.details() == sentence
    assert world.plane.proxies("shop") == []


async def test_a_certificate_of_another_mesh_opens_only_that(world):
    identity = world.certificates.good(mesh="other")
    assert (await refusal(world, identity)).code() == grpc.StatusCode.PERMISSION_DENIED
    task = asyncio.create_task(converse(world, identity, first(of="other"), {}))
    await until(lambda: world.plane.proxies("other"))
    assert world.plane.proxies("shop") == []
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_is_refused_is_logged_once(world, caplog):
    with caplog.at_level(logging.WARNING, "rollouts.xds.server"):
        for _ in range(3):
            await refusal(world, world.certificates.good(), first(service="back"))
    said = [r.getMessage() for r in caplog.records if r.name == "rollouts.xds.server"]
    assert len(said) == 1
    assert "mesh 'shop' proxy 'n1': The certificate is for service front" in said[0]


async def test_a_port_that_is_taken_is_refused_with_a_sentence(world):
    for port, start in {
        world.plain: world.plane.start,
        world.port: lambda to: world.plane.start_guarded(
            to, world.server.credentials(), peers.admit
        ),
    }.items():
        with pytest.raises(InvalidInput, match=f"cannot listen on 127.0.0.1:{port}"):
            await start(f"127.0.0.1:{port}")


@pytest.mark.parametrize("kind", ["strange", "expired", "server"])
async def test_a_certificate_that_is_not_good_gets_no_connection(world, kind):
    refused = await refusal(world, getattr(world.certificates, kind)())
    assert refused.code() == grpc.StatusCode.UNAVAILABLE
    assert world.plane.proxies("shop") == []


async def test_without_a_certificate_there_is_no_connection(world):
    assert (await refusal(world, None)).code() == grpc.StatusCode.UNAVAILABLE


async def test_plain_text_gets_no_connection(world):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{world.port}") as to:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await health_pb2_grpc.HealthStub(to).Check(health_pb2.HealthCheckRequest(), timeout=3)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_it_says_that_it_is_well_and_answers_no_sync(world):
    async with world.channel(world.certificates.good()) as to:
        reply = await health_pb2_grpc.HealthStub(to).Check(health_pb2.HealthCheckRequest())
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await to.unary_unary(SYNC)(b"{}", timeout=3)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_new_name_needs_no_restart(world):
    identity = world.certificates.good()

    async def is_reached_by_name():
        async with world.channel(identity, host="localhost") as to:
            stub = health_pb2_grpc.HealthStub(to)
            try:
                await stub.Check(health_pb2.HealthCheckRequest(), timeout=3)
            except grpc.aio.AioRpcError:
                return False
            return True

    assert not await is_reached_by_name()
    world.server.names = ("127.0.0.1", "localhost")
    assert await is_reached_by_name()


async def test_an_authority_that_is_trusted_later_needs_no_restart(world, tmp_path):
    assert (await refusal(world, world.certificates.strange())).code() == (
        grpc.StatusCode.UNAVAILABLE
    )
    (tmp_path / "ours" / "trusted").mkdir()
    theirs = world.certificates.theirs.trusted(now=now())
    (tmp_path / "ours" / "trusted" / "next.pem").write_text(theirs)
    world.time += RENEW_AFTER
    async with world.channel(world.certificates.strange()) as to:
        await health_pb2_grpc.HealthStub(to).Check(health_pb2.HealthCheckRequest())


async def test_a_folder_that_breaks_later_leaves_the_certificate_as_it_is(world, tmp_path, caplog):
    (tmp_path / "ours" / "authority" / "key.pem").write_text("nonsense")
    good = world.certificates
    identity = Certificates(good.theirs, good.theirs)
    (tmp_path / "ours" / "trusted").mkdir()
    world.time += RENEW_AFTER
    with caplog.at_level(logging.ERROR, "rollouts.xds.tls"):
        refused = await refusal(world, identity.good())
    assert refused.code() == grpc.StatusCode.UNAVAILABLE
    assert "is not renewed" in caplog.text
