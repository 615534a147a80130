"""A mesh as on AWS: the control plane as a process, tasks with their Envoys as processes.

For ``test_sidecar``. Rows are the test's own, in the database file that the control plane reads.
Everything is started as it would be there: ``manage.py controlplane``, and containers by their
definition, with certificates in environment variables.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import grpc
from django.db import connection

from protos import echo_pb2, echo_pb2_grpc
from rollouts.domain.state import Confirmed
from rollouts.models import Mesh, Service, Task, Version
from rollouts.pki import Authority, Identity
from rollouts.routers.envoy import EnvoyRouter
from rollouts.xds.sidecar import (
    SECRETS,
    control_plane_address,
    sidecar_bootstrap,
    sidecar_container,
)
from tests.fakeaws.engine import Engine
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
NAME, CLIENT = "echo_server.echo.local", "echo_client"
# Not those of other runs on this machine.
ADDRESSES = (f"127.77.{os.getpid() % 250 + 1}.{number}" for number in count(100))
LOGS = {"awslogs-group": "g", "awslogs-region": "r", "awslogs-stream-prefix": CLIENT}
REGISTRY = "1.dkr.ecr.eu-west-1.amazonaws.com/echo"
DIGEST = f"sha256:{'0' * 64}"


def eventually(holds: Callable[[], object], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"did not come true within {within_s} s: {holds}"
        time.sleep(0.03)


def environment(**values: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


class Caller:
    """Calls echo_server as echo_client does: through the Envoy of its task."""

    def __init__(self, ip: str) -> None:
        options = [("grpc.default_authority", NAME), ("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(f"{ip}:15001", options=options)
        self._echo = echo_pb2_grpc.EchoServiceStub(self._channel).Echo

    def versions(self, times: int = 100) -> Counter[str]:
        """Which versions answered; an error counts under its text."""
        with ThreadPoolExecutor(8) as pool:
            return Counter(pool.map(lambda _: self.version(), range(times)))

    def version(self) -> str:
        try:
            answer, call = self._echo.with_call(echo_pb2.EchoRequest(name="Yizumi"), timeout=5)
        except grpc.RpcError as error:
            return str(error)
        assert answer.message.startswith("Hello, Yizumi-san!")
        return str(dict(call.trailing_metadata())["x-version"])

    def close(self) -> None:
        self._channel.close()


class Place:
    """The mesh ``echo``, its rows, its control plane and its tasks."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder, self.engine = folder, engine
        self.authority = Authority(folder / "pki")
        self.plain, self.tls, self.port = free_port(), free_port(), free_port()
        self.log = folder / "controlplane.log"
        self._plane: subprocess.Popen[bytes] | None = None
        address = f"localhost:{self.tls}"
        chosen = {"control_plane": address, "egress": "127.0.0.1:15001"}
        self.mesh = Mesh.objects.create(
            slug="echo", name="echo", platform="ecs", router="envoy", settings=chosen
        )
        self.service = Service.objects.create(mesh=self.mesh, slug="echo-server", name=NAME)
        self.bootstrap = sidecar_bootstrap("echo", CLIENT, control_plane_address(address))

    # The control plane

    def start_plane(self) -> None:
        """Returns when it answers."""
        argv = ["manage.py", "controlplane", "--address", f"127.0.0.1:{self.plain}"]
        env = {
            **os.environ,
            "MESHUI_STATE": str(self.folder / "state"),
            "MESHUI_PKI_DIR": str(self.folder / "pki"),
            "MESHUI_XDS_TLS_ADDRESS": f"127.0.0.1:{self.tls}",
            "MESHUI_XDS_NAMES": "",
            "DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}",
            "BROKER_URL": "memory://",
        }
        with self.log.open("ab") as log:
            self._plane = subprocess.Popen(
                [sys.executable, *argv], cwd=ROOT, env=env, stdout=log, stderr=log
            )
        eventually(lambda: "by TLS" in self.said() or self._plane_ended())

    def _plane_ended(self) -> bool:
        assert self._plane is not None
        assert self._plane.poll() is None, self.said()
        return False

    def said(self) -> str:
        return self.log.read_text()

    def kill_plane(self) -> None:
        if self._plane is not None:
            self._plane.send_signal(signal.SIGKILL)
            self._plane.wait()
            self.log.unlink()

    # Versions and their tasks

    def deploy(self, label: str) -> Version:
        """One task of a version, as the platform would start it and see it."""
        ip = next(ADDRESSES)
        version = Version.objects.add(self.service, label=label, digest=DIGEST)
        Version.objects.filter(pk=version.pk).update(count=1, keep=1)
        container = {
            "name": "app",
            "image": f"{REGISTRY}/echo_server@{DIGEST}",
            "environment": environment(HOST="0.0.0.0", PORT=str(self.port), VERSION=label),
        }
        self.engine.start(f"{label}/1", ip, {"containerDefinitions": [container]})
        Task.objects.create(
            service=self.service, version=version, name=f"{label}/1", index=0, host=ip,
            port=self.port, state="running", seen_at=datetime.now(UTC),
        )  # fmt: skip
        return version

    def weigh(self, weights: dict[Version, int], wait_s: float = 5.0) -> Confirmed:
        """Move the weights as a tick does, and ask the control plane what the proxies say."""
        service = self.service
        service.refresh_from_db()
        Service.objects.filter(pk=service.pk).update(
            stable=next(iter(weights)),
            weights={str(version.pk): weight for version, weight in weights.items()},
            generation=service.generation + 1,
        )
        service.refresh_from_db()
        return EnvoyRouter().apply(service, service.generation, wait_s=wait_s)

    # Callers and their sidecars

    def identity(self) -> Identity:
        return self.authority.issue_client("echo", CLIENT, days=1, now=datetime.now(UTC))

    def start_client(
        self, task: str, identity: Identity, bootstrap: str | None = None, **app: str
    ) -> str:
        """A task of echo_client with its Envoy; returns its address."""
        ip = next(ADDRESSES)
        secret = {
            "bootstrap": bootstrap or self.bootstrap,
            "cert": identity.cert,
            "key": identity.key,
            "ca": identity.ca,
        }
        sidecar: dict[str, Any] = sidecar_container(f"{REGISTRY}/envoy@{DIGEST}", "arn", LOGS)
        # What ECS does: each secret becomes a variable.
        sidecar["environment"] = environment(**{name: secret[key] for name, key in SECRETS.items()})
        definition = {
            "name": "app",
            "image": f"{REGISTRY}/echo_client@{DIGEST}",
            "dependsOn": [{"containerName": "envoy", "condition": "HEALTHY"}],
            "environment": environment(
                HOST="0.0.0.0", PORT="8080", SERVER_ENDPOINT="127.0.0.1:15001",
                SERVER_AUTHORITY=NAME, **app,
            ),
        }  # fmt: skip
        self.engine.start(task, ip, {"containerDefinitions": [definition, sidecar]})
        eventually(lambda: self.engine.look(task).state == "healthy")
        return ip

    def envoy_log(self, task: str) -> str:
        """What the sidecar of a task wrote last."""
        return self.engine.log_tail(task, "envoy")
