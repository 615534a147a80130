"""Real traffic for ``--run-tasks``: processes for tasks, a forwarder for each load balancer.

``__main__`` opens and closes it. Without it the fake's load balancers have names and no traffic.
"""

from __future__ import annotations

import socket

from moto.elbv2.models import elbv2_backends

from tests.fakeaws import elbv2, lifecycle, world
from tests.fakeaws.balancer import Balancer, Target
from tests.fakeaws.engine import Engine

PROBE_S = 0.3


class DataPlane:
    """What a load balancer sends requests to follows its listener's targets on every tick."""

    def __init__(self) -> None:
        self._balancers: dict[str, Balancer] = {}
        self._targets: dict[str, list[Target]] = {}
        self._engine = Engine()
        lifecycle.use_engine(self._engine)
        elbv2.set_probe(answers)
        elbv2.set_balancers(self._opened, self._closed)
        world.on_tick(self._follow)
        world.on_reset(self._forget)

    def _opened(self, arn: str, scheme: str) -> str:
        """The new load balancer's name, which has its port in it."""
        made = Balancer()
        self._balancers[arn] = made
        return f"{made.host}:{made.port}"

    def _closed(self, arn: str) -> None:
        self._targets.pop(arn, None)
        if gone := self._balancers.pop(arn, None):
            gone.close()

    def _forget(self) -> None:
        for arn in list(self._balancers):
            self._closed(arn)

    def _follow(self, now: float) -> None:
        for arn, balancer in list(self._balancers.items()):
            port = listener_port(arn)
            targets = elbv2.open_targets(arn, port) if port else []
            if targets != self._targets.get(arn):
                self._targets[arn] = targets
                balancer.set_targets(targets)

    def close(self) -> None:
        """End every process and stop listening."""
        self._forget()
        lifecycle.use_engine(None)
        elbv2.set_probe(None)
        elbv2.set_balancers(None)
        self._engine.close()


def listener_port(arn: str) -> int | None:
    """The port of the load balancer's first listener; None while it has none."""
    region, account = arn.split(":")[3:5]
    balancer = elbv2_backends[account][region].load_balancers.get(arn)
    for listener in balancer.listeners.values() if balancer else ():
        return int(listener.port)
    return None


def answers(address: str, port: int) -> bool:
    """True when somebody listens there."""
    with socket.socket() as probe:
        probe.settimeout(PROBE_S)
        return probe.connect_ex((address, port)) == 0
