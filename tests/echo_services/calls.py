"""gRPC calls to a running echo server, as its callers make them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos import echo_pb2, echo_pb2_grpc
from tests.echo_services.programs import DEADLINE_SECONDS, Program, eventually

SERVICE = "proto.echo.EchoService"


@contextmanager
def channel_to(server: Program) -> Iterator[grpc.Channel]:
    # Not shared with the tests before: a channel of theirs may be waiting before it reconnects.
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(server.address, options=options) as channel:
        yield channel


def ask(channel: grpc.Channel, name: str = "Yizumi", seconds: float = DEADLINE_SECONDS) -> Any:
    """The future of one Echo call."""
    stub = echo_pb2_grpc.EchoServiceStub(channel)
    return stub.Echo.future(echo_pb2.EchoRequest(name=name), timeout=seconds)


def health_of(channel: grpc.Channel, service: str = SERVICE) -> str:
    request = health_pb2.HealthCheckRequest(service=service)
    answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=DEADLINE_SECONDS)
    return status_name(answer)


def watch(channel: grpc.Channel) -> Any:
    """The stream of health answers for the service, beginning with the present one."""
    request = health_pb2.HealthCheckRequest(service=SERVICE)
    return health_pb2_grpc.HealthStub(channel).Watch(request, timeout=DEADLINE_SECONDS)


def status_name(answer: Any) -> str:
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return name


def becomes_healthy(channel: grpc.Channel, service: str = SERVICE) -> None:
    eventually(lambda: health_of(channel, service) == "SERVING", f"{service!r} is SERVING")
