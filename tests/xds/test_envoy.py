"""What a real Envoy does with what the control plane says, and what callers see of it."""

import asyncio
import json
import signal
from dataclasses import replace

import grpc
import pytest
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.any_pb2 import Any as AnyMessage

from rollouts.errors import InvalidInput
from rollouts.xds import lastgood
from rollouts.xds.snapshot import Endpoint, Snapshot, snapshot
from rollouts.xds.types import ROUTES
from tests.envoy import Envoy, Process, as_it_is, http_backend, until
from tests.ports import free_port
from tests.xds.shop import NAME, NEW, OLD, mesh, service, target

SYNC = "/meshui.control.v1.ControlPlane/Sync"

pytestmark = pytest.mark.envoy


async def running(world, **backends):
    """Two versions, one Envoy that serves, and a caller."""
    await world.backends(**backends)
    envoy = world.envoy()
    envoy.start(world.port)
    await envoy.ready()
    return envoy, world.caller()


def states(world):
    return {state.node: state for state in world.plane.proxies("shop")}


async def test_weights_0_50_100_are_exact(world):
    _, caller = await running(world)
    assert (await caller.many(200)).answers == {OLD: 200}
    assert await world.shift(50, 50) == []
    half = await caller.many(1000)
    assert not half.failures
    assert 420 <= half.answers[NEW] <= 580
    assert await world.shift(0, 100) == []
    assert (await caller.many(200)).answers == {NEW: 200}


async def test_counters_are_told_apart_by_version(world):
    envoy, caller = await running(world)
    await world.shift(50, 50)
    tally = await caller.many(200)
    for name in (OLD, NEW):
        read = f"cluster.{name}.grpc.echo.Echo.Say.success"
        assert await envoy.counter(read) == tally.answers[name]
        assert await envoy.counter(f"cluster.{name}.upstream_rq_total") == tally.answers[name]


async def test_switching_under_load_fails_no_request(world):
    _, caller = await running(world, old=2, new=2)
    async with caller.load(200) as tally:
        for old, new in [(50, 50), (0, 100), (50, 50), (100, 0)] * 3:
            assert await world.shift(old, new) == []
            await until(lambda: sum(caller.tally.answers.values()) > 0)
    assert tally.failures == []


async def test_a_refused_snapshot_is_named_and_the_old_one_serves_on(world):
    _, caller = await running(world)
    good = snapshot(world.mesh)
    bad_routes = AnyMessage()
    bad_routes.Pack(RouteConfiguration(name="egress", virtual_hosts=[{"name": ""}]))
    spoilt = {**good.resources, ROUTES: {"egress": bad_routes.SerializeToString()}}
    world.plane.set_snapshot("shop", Snapshot(spoilt, {NAME: 2}, good.references))
    (state,) = await world.plane.confirm("shop", NAME, 2, 5.0)
    assert state.generations == {NAME: 1}
    assert "It refused the routes" in state.nack
    assert (await caller.many(40)).answers == {OLD: 40}
    world.generation = 2
    assert await world.shift(0, 100) == []
    assert states(world)["n1"].nack is None
    assert (await caller.many(40)).answers == {NEW: 40}


async def test_an_older_generation_is_refused(world):
    await running(world)
    await world.shift(50, 50)
    older = replace(world.mesh, services=(replace(world.mesh.services[0], generation=1),))
    with pytest.raises(InvalidInput, match="generation 1 is older"):
        world.plane.set_snapshot("shop", snapshot(older))


async def test_traffic_survives_a_control_plane_that_dies_and_comes_back(world):
    _, caller = await running(world)
    await world.shift(0, 100)
    async with caller.load(100) as tally:
        await world.plane.stop()
        await caller.say()
        await world.start_plane()
        world.push()
        await until(lambda: world.plane.proxies("shop"))
        (state,) = await world.plane.settle("shop", 5.0)
        assert state.synced
        assert state.generations == {NAME: world.generation}
    assert tally.failures == []
    assert set(tally.answers) == {NEW}


async def test_a_version_removed_while_the_control_plane_is_away_fails_no_request(world):
    _, caller = await running(world)
    await world.shift(0, 100)
    await until(lambda: lastgood.load(world.directory / "state", "shop") == snapshot(world.mesh))
    async with caller.load(200) as tally:
        await world.plane.stop()
        (echo,) = world.mesh.services
        kept = replace(echo, targets=echo.targets[:1], weights={OLD: 100}, generation=3)
        world.mesh = replace(world.mesh, services=(kept,))
        await world.start_plane()
        world.push()
        await world.plane.settle("shop", 5.0)
        assert await caller.say() == OLD
    assert tally.failures == []


async def test_every_proxy_must_confirm_and_the_one_that_does_not_is_named(world):
    await running(world)
    # Two Envoys of one mesh cannot own one port of one machine: the second refuses its listener.
    second = Envoy(world.directory, "n2", "shop", [])
    world.stack.callback(second.stop)
    second.start(world.port)
    await until(lambda: "n2" in states(world))
    assert await world.shift(50, 50) == ["n2"]
    assert "It refused the listeners" in states(world)["n2"].nack
    assert states(world)["n1"].synced


async def test_a_paused_proxy_is_named_and_then_gone(world):
    envoy, _ = await running(world)
    envoy.pause()
    assert await world.shift(50, 50, within_s=0.3) == ["n1"]
    await until(lambda: not states(world)["n1"].connected)
    assert states(world)["n1"].disconnected_at is not None
    envoy.resume()
    await until(lambda: states(world)["n1"].generations.get(NAME) == world.generation)
    assert states(world)["n1"].connected


@pytest.mark.parametrize(("old", "new"), [(50, 50), (0, 100)])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_version_that_dies_fails_no_idempotent_request(world, old, new, how):
    processes = [Process(name) for name in (OLD, NEW, NEW)]
    for process in processes:
        world.stack.callback(process.stop)
        await process.ready()
    world.serve([processes[0].port], [processes[1].port, processes[2].port])
    envoy = world.envoy()
    envoy.start(world.port)
    await envoy.ready()
    assert await world.shift(old, new) == []
    caller = world.caller()
    async with caller.load(150) as tally:
        await until(lambda: tally.answers[NEW] > 20)
        for process in processes[1:]:
            process.send(how)
        served = tally.answers[OLD]
        await until(lambda: tally.answers[OLD] > served + 150)
        # Until its health check has failed as well, so that both ways of noticing are covered.
        await asyncio.sleep(1.5)
    assert tally.failures == []


async def test_a_draining_endpoint_gets_no_new_request(world):
    envoy, caller = await running(world, old=2)
    (echo,) = world.mesh.services
    first, second = echo.targets[0].endpoints
    drained = (Endpoint(first.host, first.port, draining=True), second)
    targets = (replace(echo.targets[0], endpoints=drained), echo.targets[1])
    world.mesh = replace(world.mesh, services=(replace(echo, targets=targets),))
    world.push()
    (state,) = await world.plane.settle("shop", 5.0)
    assert state.synced
    before = await requests_to(envoy, first.port)
    assert (await caller.many(100)).answers == {OLD: 100}
    assert await requests_to(envoy, first.port) == before


async def requests_to(envoy, port):
    view = (await envoy.read("/clusters")).splitlines()
    return [line for line in view if line.startswith(OLD) and f":{port}::rq_total::" in line]


async def test_a_cold_proxy_serves_without_a_control_plane(world):
    first, caller = await running(world)
    await world.shift(0, 100)
    good = snapshot(world.mesh)
    await until(lambda: lastgood.load(world.directory / "state", "shop") == good)
    first.stop()
    await world.plane.stop()
    cold = world.envoy("n9")
    began = asyncio.get_running_loop().time()
    cold.launch(world.port, world.directory / "state")
    await cold.ready()
    assert await caller.say() == NEW
    assert asyncio.get_running_loop().time() - began < 5.0
    # Then the control plane is back, with news.
    await world.start_plane()
    async with caller.load(100) as tally:
        assert await world.shift(100, 0) == []
        assert await caller.say() == OLD
    assert tally.failures == []


async def test_a_caller_from_outside_finds_a_service_by_its_path(world):
    public = free_port()
    async with http_backend("web") as port:
        web = service(target("web_1", port, http2=False), weights={"web_1": 100})
        web = replace(web, name="web", protocol="http", public_prefix="/shop/", stable="web_1")
        tcp = replace(web.targets[0], health=replace(web.targets[0].health, kind="tcp"))
        world.mesh = mesh(replace(web, targets=(tcp,)), egress=world.egress, public=public)
        world.push()
        envoy = world.envoy()
        envoy.start(world.port)
        await envoy.ready()
        status, headers, body = await fetch(public, "/shop/x")
        assert (status, body) == (200, "web")
        assert headers["server"] == "envoy"
        assert headers["x-envoy-upstream-service-time"].isdigit()
        status, _, body = await fetch(public, "/")
        assert (status, body) == (404, "No service of this mesh is published at this path.\n")


async def fetch(port, path):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    first, *rest = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in rest)
    return int(first.split()[1]), headers, body


async def test_sync_says_what_every_proxy_has_confirmed(world):
    await running(world)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{world.port}") as channel:
        sync = channel.unary_unary(SYNC, as_it_is, as_it_is)
        asked = {"mesh": "shop", "service": NAME, "generation": 1, "wait_ms": 2000}
        answer = json.loads(await sync(json.dumps(asked).encode()))
        assert answer["generation"] == 1
        assert [p["generations"] for p in answer["proxies"]] == [{NAME: 1}]
        refused = json.loads(await sync(b"{}"))
        assert refused == {"error": "A sync names a mesh, a service and a generation."}
