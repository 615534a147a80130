"""Asks one task once whether it works: over gRPC, HTTP, or by opening a TCP connection.

Called by `watch.py`. A probe answers with a finding and never raises for what a task does; it
keeps no opinion about the past.
"""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

# Read when gRPC is loaded. Every child of ours is exec'ed at once: it needs no handlers for a
# fork, and they would say on the terminal each time that they were skipped.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rollouts.supervisor.ports import HOST
from rollouts.supervisor.spec import Health

STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})")
CHANNEL_OPTIONS = (
    # A pool of our own: a shared one would keep the back-off of an earlier task on this port.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True)
class Finding:
    healthy: bool
    text: str


class Probe(Protocol):
    async def check(self) -> Finding:
        """Answers within the time-out of the health check, always."""

    async def close(self) -> None: ...


def open_probe(health: Health, port: int | None) -> Probe:
    if port is None or health.kind == "none":
        return NoProbe()
    probes = {"grpc": GrpcProbe, "http": HttpProbe, "tcp": TcpProbe}
    return probes[health.kind](health, port)


class NoProbe:
    """To be alive is to be healthy."""

    async def check(self) -> Finding:
        return Finding(healthy=True, text="running")

    async def close(self) -> None:
        return None


class TcpProbe:
    """A connection is enough. A paused task passes: the kernel accepts for it."""

    def __init__(self, health: Health, port: int) -> None:
        self._health = health
        self._port = port

    async def check(self) -> Finding:
        try:
            async with asyncio.timeout(self._health.timeout_s):
                return await self._ask()
        except TimeoutError:
            return Finding(healthy=False, text=f"no answer in {self._health.timeout_s:g} s")
        except ConnectionRefusedError:
            return Finding(healthy=False, text="connection refused")
        except OSError as error:
            return Finding(healthy=False, text=str(error))
        except ValueError:  # what StreamReader says of a line without an end
            return Finding(healthy=False, text="the answer is not HTTP")

    async def close(self) -> None:
        return None

    async def _ask(self) -> Finding:
        async with _connection(self._port):
            return Finding(healthy=True, text="connected")


class HttpProbe(TcpProbe):
    """A GET; any 2xx is healthy. Redirects are not followed."""

    async def _ask(self) -> Finding:
        request = (
            f"GET {self._health.path} HTTP/1.1\r\nHost: {HOST}:{self._port}\r\n"
            "User-Agent: meshui-supervisor\r\nConnection: close\r\n\r\n"
        )
        async with _connection(self._port) as (reader, writer):
            writer.write(request.encode())
            await writer.drain()
            found = STATUS_LINE.match(await reader.readline())
        if not found:
            return Finding(healthy=False, text="the answer is not HTTP")
        status = int(found.group(1))
        return Finding(healthy=200 <= status < 300, text=f"HTTP {status}")


class GrpcProbe(TcpProbe):
    """The standard health service (grpc.health.v1); SERVING is healthy."""

    def __init__(self, health: Health, port: int) -> None:
        super().__init__(health, port)
        self._channel: grpc.aio.Channel | None = None

    async def close(self) -> None:
        if self._channel:
            channel, self._channel = self._channel, None
            await channel.close(grace=None)

    async def _ask(self) -> Finding:
        if self._channel is None:
            # A channel that is refused waits a second before it tries again; a socket does not.
            async with _connection(self._port):
                pass
            self._channel = grpc.aio.insecure_channel(f"{HOST}:{self._port}", CHANNEL_OPTIONS)
        stub = health_pb2_grpc.HealthStub(self._channel)
        request = health_pb2.HealthCheckRequest(service=self._health.service)
        try:
            answer = await stub.Check(request, timeout=self._health.timeout_s)
        except grpc.aio.AioRpcError as error:
            await self.close()
            return Finding(healthy=False, text=_sentence(error, self._health))
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        return Finding(healthy=status == "SERVING", text=status)


def _sentence(error: grpc.aio.AioRpcError, health: Health) -> str:
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no answer in {health.timeout_s:g} s"
    if error.code() is grpc.StatusCode.NOT_FOUND:
        return f"the service {health.service!r} is not known to the health service"
    return f"{error.code().name}: {error.details()}"


@contextlib.asynccontextmanager
async def _connection(
    port: int,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield reader, writer
    finally:
        writer.close()
