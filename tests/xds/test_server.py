"""The control plane with proxies that only speak the protocol, over real connections."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from rollouts.xds.proxies import ProxyState
from rollouts.xds.server import ADS_SERVICE, ControlPlane
from rollouts.xds.snapshot import snapshot
from rollouts.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from tests.envoy import until
from tests.xds.shop import NAME, NEW, OLD, mesh, service, shifted, target

MESH = mesh(service(target(OLD, 1), target(NEW, 2), weights={OLD: 100, NEW: 0}))
ASKED = {CLUSTER: [], ENDPOINTS: [OLD, NEW], LISTENER: [], ROUTES: ["egress"]}


async def speak(port, node, *, answers=True):
    """Subscribe to everything and accept (or leave unanswered) whatever comes, until cancelled."""
    said: asyncio.Queue[DiscoveryRequest] = asyncio.Queue()
    for kind, names in ASKED.items():
        said.put_nowait(DiscoveryRequest(type_url=kind, resource_names=names))
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        async for response in ads(channel)(requests(said, node)):
            if answers:
                said.put_nowait(accept(response))


def ads(channel):
    return channel.stream_stream(
        f"/{ADS_SERVICE}/StreamAggregatedResources",
        DiscoveryRequest.SerializeToString,
        DiscoveryResponse.FromString,
    )


async def requests(said, node, of="shop"):
    """Only the first request names the node."""
    first = await said.get()
    first.node.id, first.node.cluster = node, of
    yield first
    while True:
        yield await said.get()


def accept(response):
    return DiscoveryRequest(
        type_url=response.type_url,
        resource_names=ASKED[response.type_url],
        version_info=response.version_info,
        response_nonce=response.nonce,
    )


@contextlib.asynccontextmanager
async def proxies(port, *nodes, answers=True):
    tasks = [asyncio.create_task(speak(port, node, answers=answers)) for node in nodes]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Plane(ControlPlane):
    """With its port at hand."""

    port = 0


class Clock:
    def __init__(self):
        self.at = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self):
        return self.at


@pytest.fixture
async def plane():
    made = Plane(now=Clock())
    made.port = await made.start("127.0.0.1:0")
    try:
        yield made
    finally:
        await made.stop()


async def test_two_proxies_confirm(plane):
    plane.set_snapshot("shop", snapshot(MESH))
    async with proxies(plane.port, "n1", "n2"):
        await until(lambda: len(plane.proxies("shop")) == 2)
        plane.set_snapshot("shop", snapshot(shifted(MESH, 50, 50, 2)))
        states = await plane.confirm("shop", NAME, 2, 5.0)
        assert [(s.node, s.generations) for s in states] == [("n1", {NAME: 2}), ("n2", {NAME: 2})]


async def test_a_proxy_that_does_not_answer_is_named(plane):
    plane.set_snapshot("shop", snapshot(MESH))
    async with proxies(plane.port, "n1"), proxies(plane.port, "mute", answers=False):
        await until(lambda: len(plane.proxies("shop")) == 2)
        states = await plane.confirm("shop", NAME, 1, 0.3)
        assert {s.node: s.generations for s in states} == {"n1": {NAME: 1}, "mute": {}}


async def test_a_proxy_of_an_unknown_mesh_waits_for_its_snapshot(plane):
    async with proxies(plane.port, "n1"):
        await until(lambda: plane.proxies("shop"))
        plane.set_snapshot("shop", snapshot(MESH))
        (state,) = await plane.settle("shop", 5.0)
        assert state.synced


async def test_silence_is_not_agreement(plane):
    plane.set_snapshot("shop", snapshot(MESH))
    began = asyncio.get_running_loop().time()
    assert await plane.confirm("shop", NAME, 1, 0.2) == []
    assert asyncio.get_running_loop().time() - began >= 0.19


async def test_a_proxy_that_left_is_remembered_for_a_minute(plane):
    plane.set_snapshot("shop", snapshot(MESH))
    async with proxies(plane.port, "n1"):
        await plane.settle("shop", 5.0)
    await until(lambda: not plane.proxies("shop")[0].connected)
    plane._now.at += timedelta(seconds=61)
    assert plane.proxies("shop") == []


async def test_every_change_of_a_proxy_is_told(plane):
    told: list[ProxyState] = []
    plane._on_change = told.append
    plane.set_snapshot("shop", snapshot(MESH))
    async with proxies(plane.port, "n1"):
        await plane.settle("shop", 5.0)
    await until(lambda: told[-1].connected is False)
    assert told[0].generations == {}
    assert any(state.synced for state in told)


async def test_a_proxy_without_a_mesh_is_sent_away(plane):
    said: asyncio.Queue[DiscoveryRequest] = asyncio.Queue()
    said.put_nowait(DiscoveryRequest(type_url=CLUSTER))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{plane.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await anext(aiter(ads(channel)(requests(said, "n1", of=""))))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
