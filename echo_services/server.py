"""The gRPC server that says hello, and which version said it.

Run alone, in two consoles (the second is described in ``client.py``):

    VERSION=1.0 PORT=50051 python -m echo_services.server

Settings: ``PORT`` (50051), ``VERSION`` (1.0), ``HOST`` (127.0.0.1; 0.0.0.0 in a container),
``GRACE_SECONDS`` (5: how long running requests may take after SIGTERM), ``LOG_LEVEL`` (WARNING;
DEBUG logs each request), and the switches of ``rehearsal.py``. A bad value ends it with code 2 and
a port that is taken with code 1, each with a sentence on stderr.

On SIGTERM its health turns NOT_SERVING, what runs is finished, and it ends with code 0.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import grpc
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from echo_services import environment
from echo_services.environment import Environment, SettingError
from echo_services.listening import ListenError, address, try_to_listen
from echo_services.rehearsal import Rehearsal, RehearsedError
from protos import echo_pb2, echo_pb2_grpc

SERVICE = echo_pb2.DESCRIPTOR.services_by_name["EchoService"].full_name
OVERALL = ""
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# How long the last answers may take to leave, once nothing but open Watch streams is left.
FLUSH_SECONDS = 0.2

log = logging.getLogger("echo_services.server")


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``serve`` runs with."""

    host: str
    port: int
    version: str
    grace_seconds: float
    log_level: str
    rehearsal: Rehearsal

    @classmethod
    def from_environment(cls, env: Environment) -> "Settings":
        """Raises SettingError, naming the variable."""
        return cls(
            host=environment.host(env),
            port=environment.port(env, 50051),
            version=environment.version(env),
            grace_seconds=environment.number(env, "GRACE_SECONDS", 5, most=3600),
            log_level=environment.log_level(env),
            rehearsal=Rehearsal.from_environment(env),
        )


class Greeter:
    """The one method of EchoService, and the count of what is still being answered."""

    def __init__(self, settings: Settings) -> None:
        self._said = f"(Said {own_address(settings.host)}, Version {settings.version})"
        self._metadata = (("x-version", settings.version),)
        self._rehearsal = settings.rehearsal
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def Echo(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:  # noqa: N802
        """Greet ``request.name``; failures carry the version too."""
        self._running += 1
        self._idle.clear()
        try:
            # Trailing, not initial: it leaves in the same write as the answer, and until then a
            # mesh may still retry the request elsewhere.
            context.set_trailing_metadata(self._metadata)
            log.debug("Echo from %s", context.peer())
            await self._rehearsal.play()
            return echo_pb2.EchoResponse(message=f"Hello, {request.name}-san! {self._said}")
        except RehearsedError:
            await context.abort(grpc.StatusCode.INTERNAL, "rehearsed failure (ERROR_SHARE)")
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def finish(self, seconds: float) -> None:
        """Return when nothing is being answered, or after ``seconds``."""
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            log.warning("%d requests were still running after %g s", self._running, seconds)


def own_address(host: str) -> str:
    """The address that callers reach: ``host``, or when that means all, the outgoing one."""
    if not ip_address(host).is_unspecified:
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing; it only looks up the route.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def listening_server(settings: Settings) -> grpc.aio.Server:
    """A server bound to its port and not yet started. Raises ListenError."""
    try_to_listen(settings.host, settings.port)
    here = address(settings.host, settings.port)
    server = grpc.aio.server(
        options=[
            # Shared, a server forgotten on this port would silently take half of the requests.
            ("grpc.so_reuseport", 0),
            # Callers ping connections every 30 s; by default (5 min) they would be hung up on.
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ]
    )
    try:
        server.add_insecure_port(here)
    except RuntimeError:
        raise ListenError(f"Cannot listen on {here}: gRPC could not bind.") from None
    return server


async def become_healthy(servicer: Any, rehearsal: Rehearsal) -> None:
    """Report SERVING at once, late or never, as rehearsed; NOT_SERVING until then."""
    await _report(servicer, NOT_SERVING)
    if rehearsal.never_healthy:
        return
    # Even 0 s lets the server start first.
    await asyncio.sleep(rehearsal.slow_start_seconds)
    await _report(servicer, SERVING)


async def _report(servicer: Any, status: int) -> None:
    for service in (OVERALL, SERVICE):
        await servicer.set(service, status)


async def drain(server: grpc.aio.Server, greeter: Greeter, grace_seconds: float) -> None:
    """Refuse new requests, finish the running ones within ``grace_seconds``, and stop.

    ``Server.stop`` alone would wait for open health Watch streams, which never end.
    """
    stopping = asyncio.create_task(server.stop(grace_seconds))
    await greeter.finish(grace_seconds)
    await server.stop(min(FLUSH_SECONDS, grace_seconds))
    await stopping


async def serve(settings: Settings) -> None:
    """Answer until SIGTERM or SIGINT. Raises ListenError."""
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    server = listening_server(settings)
    greeter = Greeter(settings)
    servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]  # stubs lack aio
    echo_pb2_grpc.add_EchoServiceServicer_to_server(greeter, server)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    healthy = asyncio.create_task(become_healthy(servicer, settings.rehearsal))
    await server.start()
    print(f"Echo Server Version {settings.version}")
    print(f"Starting on port: {settings.port}, ssl: false", flush=True)
    await asked_to_stop.wait()
    healthy.cancel()
    await servicer.enter_graceful_shutdown()
    await drain(server, greeter, settings.grace_seconds)


def main() -> None:
    """Run the server with the settings of the environment."""
    try:
        settings = Settings.from_environment(os.environ)
        logging.basicConfig(level=settings.log_level, format="%(levelname)s %(name)s %(message)s")
        uvloop.run(serve(settings))
    except SettingError as refused:
        print(refused, file=sys.stderr)
        sys.exit(2)
    except ListenError as refused:
        sys.exit(str(refused))  # Which also means code 1.


if __name__ == "__main__":
    main()
