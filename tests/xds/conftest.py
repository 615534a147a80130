"""A control plane, a real Envoy and two versions of a gRPC service, for the tests here."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollouts.xds.server import ControlPlane
from rollouts.xds.snapshot import Mesh, snapshot
from tests.envoy import Caller, Envoy, grpc_backend
from tests.ports import free_port
from tests.xds.shop import NAME, NEW, OLD, mesh, service, shifted, target


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class World:
    """What a test holds: the control plane, its port, the mesh in force, the proxies."""

    directory: Path
    stack: contextlib.AsyncExitStack
    egress: int
    plane: ControlPlane
    port: int = 0
    mesh: Mesh = field(default_factory=mesh)
    generation: int = 1
    counted: Counter[str] = field(default_factory=Counter)

    async def start_plane(self, **options: object) -> None:
        self.plane = ControlPlane(now=now, state_dir=self.directory / "state")
        self.port = await self.plane.start(f"127.0.0.1:{self.port}")

    def envoy(self, node: str = "n1", *, egress: int | None = None) -> Envoy:
        envoy = Envoy(self.directory, node, "shop", [egress or self.egress])
        self.stack.callback(envoy.stop)
        return envoy

    async def backends(self, old: int = 1, new: int = 1) -> None:
        ports: dict[str, list[int]] = {OLD: [], NEW: []}
        for name, times in ((OLD, old), (NEW, new)):
            for _ in range(times):
                backend = grpc_backend(name, self.counted)
                ports[name].append(await self.stack.enter_async_context(backend))
        self.serve(ports[OLD], ports[NEW])

    def serve(self, old: list[int], new: list[int]) -> None:
        """Serve two versions at 100 and 0."""
        weights = {OLD: 100, NEW: 0}
        echo = service(target(OLD, *old), target(NEW, *new), weights=weights)
        self.mesh = mesh(echo, egress=self.egress)
        self.push()

    def push(self) -> None:
        self.plane.set_snapshot("shop", snapshot(self.mesh))

    async def shift(self, old: int, new: int, within_s: float = 5.0) -> list[str]:
        """Move the weights; return the names of the proxies that have not confirmed."""
        self.generation += 1
        self.mesh = shifted(self.mesh, old, new, self.generation)
        self.push()
        states = await self.plane.confirm("shop", NAME, self.generation, within_s)
        return [s.node for s in states if s.generations.get(NAME) != self.generation]

    def caller(self, port: int | None = None) -> Caller:
        caller = Caller(port or self.egress, NAME)
        self.stack.push_async_callback(caller.close)
        return caller


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        made = World(tmp_path, stack, free_port(), ControlPlane(now=now))
        await made.start_plane()
        try:
            yield made
        finally:
            await made.plane.stop()
