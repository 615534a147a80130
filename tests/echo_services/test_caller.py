import asyncio

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from echo_services.caller import Caller, open_channel


class CountedHealth(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """A server that is healthy and counts how often it is asked for which service."""

    def __init__(self):
        self.asked: list[str] = []

    async def Check(self, request, context):  # noqa: N802
        self.asked.append(request.service)
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


async def test_many_pings_ask_the_whole_server_once():
    health, server = CountedHealth(), grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with open_channel(f"127.0.0.1:{port}", None) as channel:
            caller = Caller(channel, timeout_ms=5000)
            answers = await asyncio.gather(*(caller.ping() for _ in range(50)))
    finally:
        await server.stop(None)

    assert {answer[:2] for answer in answers} == {(200, "OK")}
    assert health.asked == [""]
