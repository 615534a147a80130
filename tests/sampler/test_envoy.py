"""A real Envoy's counters against the number of requests that were really sent through it."""

import asyncio
import contextlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import grpc
import pytest

from rollouts.domain.traffic import Tally
from rollouts.sampler.addresses import target_of
from rollouts.sampler.counters import PATH, Count, Counters, parse
from rollouts.sampler.probe import Probe
from rollouts.xds.server import ControlPlane
from rollouts.xds.snapshot import HealthCheck, Target, snapshot
from tests.envoy import SAY, Envoy, as_it_is, until_async
from tests.ports import free_port
from tests.sampler.servers import answer, serving
from tests.xds.shop import NAME, mesh, service, target

pytestmark = pytest.mark.envoy
OLD, NEW = "echo-server--1", "echo-server--2"


Protocol = Literal["grpc", "http"]


@dataclass
class World:
    """One Envoy that serves two versions of one service, and who reads its counters."""

    stack: contextlib.AsyncExitStack
    plane: ControlPlane
    port: int
    egress: int
    envoy: Envoy

    async def serve(
        self, protocol: Protocol, weights: dict[str, int], *targets: Target
    ) -> Counters:
        """Start Envoy; the first reading of its counters is already done."""
        one = service(*targets, weights=weights)
        # Patient, so that a busy machine makes no attempts of its own.
        one = replace(one, protocol=protocol, stable=OLD, timeout_s=30.0)
        self.plane.set_snapshot("shop", snapshot(mesh(one, egress=self.egress)))
        self.envoy.start(self.port)
        await self.envoy.ready()
        await self.plane.confirm("shop", NAME, 1, 5.0)
        counters = Counters(f"127.0.0.1:{self.envoy.admin}")
        self.stack.callback(counters.close)
        assert await counters.added() == {}
        return counters

    async def grpc_server(self, name: str, counted: Counter[str], **odd: int) -> int:
        return await self.stack.enter_async_context(grpc_server(name, counted, **odd))


@pytest.fixture
async def world(tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        plane = ControlPlane(now=lambda: datetime.now(UTC))
        port, egress = await plane.start("127.0.0.1:0"), free_port()
        stack.push_async_callback(plane.stop)
        envoy = Envoy(tmp_path, "n1", "shop", [egress])
        stack.callback(envoy.stop)
        yield World(stack, plane, port, egress, envoy)


@contextlib.asynccontextmanager
async def grpc_server(name: str, counted: Counter[str], fail_every: int = 0, busy_every: int = 0):
    """Answers its name; INTERNAL every so often, UNAVAILABLE (which Envoy repeats) as well."""

    async def say(body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        counted[name] += 1
        if fail_every and counted[name] % fail_every == 0:
            await context.abort(grpc.StatusCode.INTERNAL, "broken")
        if busy_every and counted[name] % busy_every == 0:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
        return name.encode()

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    method = grpc.unary_unary_rpc_method_handler(say)
    handlers = grpc.method_handlers_generic_handler("echo.Echo", {"Say": method})
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(grace=None)


def tcp(name: str, port: int) -> Target:
    made = target(name, port)
    return replace(made, health=replace(made.health, kind="tcp"))


async def call(egress: int, times: int) -> Counter[str]:
    """What ``times`` callers got: an answer or the name of a gRPC status."""
    seen: Counter[str] = Counter()
    options = [("grpc.default_authority", NAME), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{egress}", options=options) as channel:
        say = channel.unary_unary(SAY, as_it_is, as_it_is)
        for _ in range(times):
            try:
                seen[(await say(b"", timeout=30)).decode()] += 1
            except grpc.aio.AioRpcError as error:
                seen[error.code().name] += 1
    return seen


async def http_get(egress: int, times: int) -> Counter[str]:
    seen: Counter[str] = Counter()
    request = f"GET / HTTP/1.1\r\nhost: {NAME}\r\nconnection: close\r\n\r\n".encode()
    for _ in range(times):
        reader, writer = await asyncio.open_connection("127.0.0.1", egress)
        writer.write(request)
        seen[(await reader.read()).split(b" ", 2)[1].decode()] += 1
        writer.close()
    return seen


def plus(a: Count, b: Count) -> Count:
    return Count(
        a.http + b.http,
        a.http_errors + b.http_errors,
        a.grpc + b.grpc,
        a.grpc_errors + b.grpc_errors,
        dict(Counter(a.times) + Counter(b.times)),
    )


async def added(counters: Counters, attempts: int) -> dict[str, Count]:
    """Read until the latencies of all ``attempts`` came: Envoy moves them once a second."""
    total: dict[str, Count] = {}
    async with asyncio.timeout(8):
        while sum(sum(count.times.values()) for count in total.values()) < attempts:
            for name, count in (await counters.added()).items():
                total[name] = plus(total.get(name, Count()), count)
            await asyncio.sleep(0.1)
    return total


def numbers(tally: Tally) -> tuple[int, int, int]:
    return tally.requests, tally.errors, tally.latency.total


async def test_grpc_calls_are_counted_exactly_by_version_and_failures_are_errors(world):
    counted: Counter[str] = Counter()
    old = await world.grpc_server(OLD, counted)
    new = await world.grpc_server(NEW, counted, fail_every=4)
    counters = await world.serve("grpc", {OLD: 50, NEW: 50}, tcp(OLD, old), tcp(NEW, new))
    seen = await call(world.egress, 200)
    counts = await added(counters, 200)
    assert numbers(counts[OLD].tally("grpc")) == (seen[OLD], 0, counted[OLD])
    assert numbers(counts[NEW].tally("grpc")) == (
        seen[NEW] + seen["INTERNAL"],
        seen["INTERNAL"],
        counted[NEW],
    )
    assert seen["INTERNAL"] == counted[NEW] // 4 > 0
    assert seen.total() == 200


async def test_a_repeated_attempt_is_one_request(world):
    counted: Counter[str] = Counter()
    old = await world.grpc_server(OLD, counted)
    new = await world.grpc_server(NEW, counted, busy_every=3)
    counters = await world.serve("grpc", {OLD: 0, NEW: 100}, tcp(OLD, old), tcp(NEW, new))
    seen = await call(world.egress, 90)
    assert seen == counted - Counter({NEW: 30})  # every third went to stable in the end
    counts = await added(counters, 90)
    assert counted.total() == 120
    assert [counts[NEW].tally("grpc").requests, counts[NEW].tally("grpc").errors] == [90, 0]
    assert counts.get(OLD, Count()).tally("grpc").requests == 0


async def test_over_http_a_500_is_an_error_and_a_404_is_none(world):
    asked = 0

    async def respond(reader, writer):
        nonlocal asked
        asked += 1
        status = {0: "500 Broken", 1: "404 Not Found"}.get(asked % 5, "200 OK")
        writer.write(answer("hi", status))

    async with serving(respond) as port:
        web = replace(tcp(OLD, port), http2=False, health=HealthCheck("none"))
        counters = await world.serve("http", {OLD: 100}, web)
        seen = await http_get(world.egress, 50)
        counts = await added(counters, 50)
    assert seen == {"200": 30, "404": 10, "500": 10}
    assert numbers(counts[OLD].tally("http")) == (50, 10, 50)


async def uptime(world, at_least_s: int) -> None:
    async def old_enough() -> bool:
        text = await world.envoy.read(PATH)
        return bool(text) and (parse(text).uptime_s or 0) >= at_least_s

    await until_async(old_enough, 12)


async def test_a_restart_is_noticed_although_the_counters_have_passed_the_old_values(world):
    old = await world.grpc_server(OLD, Counter())
    counters = await world.serve("grpc", {OLD: 100}, tcp(OLD, old))
    await call(world.egress, 5)
    await uptime(world, 4)
    await added(counters, 5)
    world.envoy.stop()
    assert await counters.added() == {}
    world.envoy.start(world.port)
    await world.envoy.ready()
    await call(world.egress, 12)
    assert (await counters.added())[OLD].grpc == 12


async def test_an_envoy_that_was_stopped_for_a_while_is_not_counted_twice(world):
    old = await world.grpc_server(OLD, Counter())
    counters = await world.serve("grpc", {OLD: 100}, tcp(OLD, old))
    await call(world.egress, 20)
    await added(counters, 20)
    world.envoy.pause()
    for _ in range(4):  # each takes 0.8 s
        assert await counters.added() == {}
    world.envoy.resume()
    await call(world.egress, 3)
    assert (await counters.added())[OLD].grpc == 3


async def test_it_asks_envoy_for_nothing_else(world):
    old = await world.grpc_server(OLD, Counter())
    await world.serve("grpc", {OLD: 100}, tcp(OLD, old))
    await call(world.egress, 1)
    probe = Probe(target_of(f"http://127.0.0.1:{world.envoy.admin}", PATH), 2.0, 1_000_000)
    body = (await probe.get()).body
    probe.close()
    names = {stat["name"] for stat in json.loads(body)["stats"] if "name" in stat}
    assert names == {
        "server.uptime",
        f"cluster.{OLD}.upstream_rq_2xx",
        f"cluster.{OLD}.grpc.echo.Echo.Say.success",
    }
    assert len(body) < 4000
