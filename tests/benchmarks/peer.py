"""The peer of B1: a bare control plane that pushes weights, with an Envoy of its own.

As the module ``python -m tests.benchmarks.peer PORT…`` it is the control plane's process: a line
``half`` or ``stable`` on stdin sets that snapshot, and is answered by two times of CLOCK_MONOTONIC
in seconds: just before the push, and when Envoy had confirmed. ``Peer`` runs all of it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rollouts.xds.server import ControlPlane
from rollouts.xds.snapshot import (
    Address,
    Endpoint,
    HealthCheck,
    Mesh,
    Target,
    VirtualService,
    snapshot,
)
from tests.envoy import Envoy, somebody_listens, until
from tests.ports import free_port

MESH, NAME, PREFIX = "peer", "bench.peer", "/bench/"
STABLE, NEW = "bench--1", "bench--2"
TASKS = 2
CONFIRM_S = 5.0


def _target(name: str, ports: list[int]) -> Target:
    endpoints = tuple(Endpoint("127.0.0.1", port) for port in ports)
    return Target(name, endpoints, http2=False, health=HealthCheck("tcp", interval_s=0.5))


def _service(ports: list[int]) -> VirtualService:
    return VirtualService(
        name=NAME,
        protocol="http",
        targets=(_target(STABLE, ports[:TASKS]), _target(NEW, ports[TASKS:])),
        weights={STABLE: 100, NEW: 0},
        generation=1,
        stable=STABLE,
        idempotent=True,
        public_prefix=PREFIX,
        timeout_s=5.0,
    )


async def serve(public: int, egress: int, ports: list[int]) -> None:
    plane = ControlPlane(now=lambda: datetime.now(UTC))
    print(await plane.start("127.0.0.1:0"), flush=True)
    service = _service(ports)
    mesh = Mesh(MESH, Address("127.0.0.1", public), Address("127.0.0.1", egress), (service,))
    plane.set_snapshot(MESH, snapshot(mesh))
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    while command := (await commands.readline()).strip():
        share = 50 if command == b"half" else 0
        generation = mesh.services[0].generation + 1
        shifted = replace(service, weights={STABLE: 100 - share, NEW: share}, generation=generation)
        mesh = replace(mesh, services=(shifted,))
        built = snapshot(mesh)
        pushed = time.monotonic()
        plane.set_snapshot(MESH, built)
        await plane.confirm(MESH, NAME, generation, CONFIRM_S)
        print(pushed, time.monotonic(), flush=True)


class Peer:
    """Control plane, Envoy and four backends; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._open = ExitStack()

    def __enter__(self) -> Peer:
        ports = [free_port() for _ in range(2 * TASKS)]
        egress = free_port()
        for port, label in zip(ports, ("0.9", "0.9", "1.0", "1.0"), strict=True):
            self._start(["tests.benchmarks.backend", str(port), label])
        words = [str(number) for number in (self.port, egress, *ports)]
        self._plane = self._start(["tests.benchmarks.peer", *words])
        assert self._plane.stdout is not None
        envoy = Envoy(self._folder, "peer-1", MESH, [self.port, egress])
        envoy.start(int(self._plane.stdout.readline()))
        self._open.callback(envoy.stop)
        asyncio.run(until(lambda: somebody_listens(self.port)))
        self.set("stable")
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _start(self, module: list[str]) -> subprocess.Popen[bytes]:
        process = self._open.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", *module], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        )
        self._open.callback(process.kill)
        return process

    def set(self, what: str) -> tuple[float, float]:
        """Push ``half`` or ``stable``; when it left, and when Envoy had confirmed it."""
        assert self._plane.stdin is not None
        assert self._plane.stdout is not None
        self._plane.stdin.write(f"{what}\n".encode())
        self._plane.stdin.flush()
        pushed, confirmed = map(float, self._plane.stdout.readline().split())
        return pushed, confirmed


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    asyncio.run(serve(numbers[0], numbers[1], numbers[2:]))
