"""How the control plane's gRPC servers are set up. Called by ``server`` only."""

from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

# In quotes: generic to the type checker only.
Handler: TypeAlias = "grpc.GenericRpcHandler[Any, Any]"

OPTIONS = (
    # Two control planes on one port would share it silently and tell proxies different things.
    ("grpc.so_reuseport", 0),
    # A thousand proxies that reconnect at once were refused with the defaults.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
    # A paused or cut-off proxy closes nothing: pings notice it within six seconds.
    ("grpc.keepalive_time_ms", 3_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    # Its default of a minute wins over the line above (measured: 25 s and still "connected").
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Envoy pings too; the default takes more than two idle pings in five minutes for an attack.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
    ("grpc.http2.max_ping_strikes", 0),
)


async def serving(*handlers: Handler) -> grpc.aio.Server:
    """A server with these handlers and gRPC health, on no port yet."""
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers(handlers)
    health = HealthServicer()
    await health.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    return server
