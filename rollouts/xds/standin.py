"""Stand in for the control plane with the last-known-good snapshot, until it is back.

``python -m rollouts.xds.standin MESH STATE_DIR SOCKET CONTROL_PLANE`` serves one Envoy over a unix
socket and ends for good as soon as the control plane answers, so that a proxy is never taken back
to an older snapshot by it. Started by ``launch``; dies with the Envoy it serves.
"""

import asyncio
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rollouts.xds import lastgood
from rollouts.xds.server import ControlPlane
from rollouts.xds.snapshot import Snapshot

LOOK_AGAIN_S = 0.25


def main() -> None:
    """Serve until the control plane answers, or SIGTERM. Exit 1 when there is nothing to serve."""
    mesh, state_dir, socket, control_plane = sys.argv[1:5]
    snapshot = lastgood.load(Path(state_dir), mesh)
    if snapshot is None:
        sys.exit(1)
    # One that was killed leaves its socket behind.
    Path(socket).unlink(missing_ok=True)
    try:
        asyncio.run(stand_in(mesh, snapshot, socket, control_plane))
    finally:
        Path(socket).unlink(missing_ok=True)


async def stand_in(mesh: str, snapshot: Snapshot, socket: str, control_plane: str) -> None:
    """Serve the snapshot on ``socket`` until the control plane is back."""
    server = ControlPlane(now=lambda: datetime.now(UTC))
    server.set_snapshot(mesh, snapshot)
    await server.start(f"unix:{socket}")
    asked_to_end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked_to_end.set)
    while not asked_to_end.is_set() and not await answers(control_plane, LOOK_AGAIN_S):
        try:
            async with asyncio.timeout(LOOK_AGAIN_S):
                await asked_to_end.wait()
        except TimeoutError:
            continue
    await server.stop()


async def answers(control_plane: str, patience_s: float) -> bool:
    """Whether a control plane says that it serves. One that is paused accepts connections too."""
    async with grpc.aio.insecure_channel(control_plane) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=patience_s)
        except grpc.aio.AioRpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


if __name__ == "__main__":
    main()
