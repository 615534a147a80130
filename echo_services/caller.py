"""Asks the echo server over gRPC, and turns what can go wrong into HTTP answers.

Used by ``client.py`` only, one channel and one Caller a process. It must not know how the answers
are sent.
"""

import asyncio
import time
from http import HTTPStatus
from typing import Any, NamedTuple

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from echo_services.environment import Tls
from protos import echo_pb2, echo_pb2_grpc

PING_KEPT_SECONDS = 1.0

Header = tuple[bytes, bytes]


class Answer(NamedTuple):
    """An HTTP response: plain text."""

    status: HTTPStatus
    text: str
    headers: tuple[Header, ...] = ()


def open_channel(endpoint: str, authority: str | None, tls: Tls | None = None) -> grpc.aio.Channel:
    """A channel to ``endpoint`` (host:port) that asks for ``authority``, if any.

    With ``tls`` the server's certificate must be for ``authority``, or without that for the
    endpoint's host. It connects at the first call, and again when it must.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # In spite of its name: how long one attempt to connect may take.
        ("grpc.min_reconnect_backoff_ms", 1000),
        # Notices within 35 s of traffic that the other end has gone without a word.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 5000),
    ]
    if authority:
        options.append(("grpc.default_authority", authority))
    if tls is None:
        return grpc.aio.insecure_channel(endpoint, options=options)
    credentials = grpc.ssl_channel_credentials(tls.ca)
    return grpc.aio.secure_channel(endpoint, credentials, options=options)


class Caller:
    """Asks the server over one channel, and turns what can go wrong into answers."""

    def __init__(self, channel: grpc.aio.Channel, timeout_ms: int) -> None:
        self._timeout_ms = timeout_ms
        self._echo = echo_pb2_grpc.EchoServiceStub(channel).Echo
        self._check = health_pb2_grpc.HealthStub(channel).Check
        self._ping = Answer(HTTPStatus.SERVICE_UNAVAILABLE, "Not asked yet.")
        self._ping_until = 0.0
        self._pinging = asyncio.Lock()

    async def greet(self, name: str) -> Answer:
        """200 with the server's message, 504 when it takes too long, 502 on any other failure."""
        call = self._echo(echo_pb2.EchoRequest(name=name), timeout=self._timeout_ms / 1000)
        try:
            response = await call
        except grpc.aio.AioRpcError as failed:
            return self._failure(failed)
        headers = _version_header(await call.trailing_metadata())
        return Answer(HTTPStatus.OK, f"Response from the server: {response.message}", headers)

    async def ping(self) -> Answer:
        """200 when the server reports SERVING, otherwise 503 with the reason.

        At most PING_KEPT_SECONDS old: however many ask, the server is asked once a second.
        """
        async with self._pinging:
            if time.monotonic() >= self._ping_until:
                self._ping = await self._ask_health()
                self._ping_until = time.monotonic() + PING_KEPT_SECONDS
            return self._ping

    async def _ask_health(self) -> Answer:
        # A mesh routes this call like any other, so it asks for the whole server ("") of
        # whichever version the call reaches.
        request = health_pb2.HealthCheckRequest(service="")
        try:
            response = await self._check(request, timeout=self._timeout_ms / 1000)
        except grpc.aio.AioRpcError as failed:
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, self._failure(failed).text)
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
        if status == "SERVING":
            return Answer(HTTPStatus.OK, "OK")
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, f"The server reports {status}.")

    def _failure(self, failed: grpc.aio.AioRpcError) -> Answer:
        headers = _version_header(failed.trailing_metadata())
        if failed.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            text = f"The server did not answer in {self._timeout_ms} ms: DEADLINE_EXCEEDED."
            return Answer(HTTPStatus.GATEWAY_TIMEOUT, text, headers)
        text = f"The call to the server failed: {failed.code().name}, {failed.details()}"
        return Answer(HTTPStatus.BAD_GATEWAY, text, headers)


def _version_header(metadata: Any) -> tuple[Header, ...]:
    version = metadata.get("x-version") if metadata else None
    return ((b"x-version", version.encode()),) if version else ()
