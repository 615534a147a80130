"""Health probes against real servers."""

import os
import signal
import sys
import time

import pytest

from tests.supervisor.conftest import Running, a_port_set, eventually

FAST = {"interval_s": 0.1, "timeout_s": 0.3}
GRPC = ["{python}", "-m", "tests.supervisor.grpc_task"]
HTTP = [
    sys.executable, "-c",
    "import os\n"
    "from http.server import *\n"
    "class H(BaseHTTPRequestHandler):\n"
    "    def do_GET(self): self.send_response(int(self.path[1:])); self.end_headers()\n"
    "HTTPServer(('127.0.0.1', int(os.environ['PORT'])), H).serve_forever()",
]  # fmt: skip


def test_a_grpc_task_that_serves_is_healthy_and_a_paused_one_is_not(up: Running) -> None:
    health = {"kind": "grpc", "service": "echo", **FAST}
    up.client.apply("g", 1, [a_port_set(argv=GRPC, health=health)])
    task = up.healthy(1)[0]
    assert task["health"] == "SERVING"
    os.kill(task["pid"], signal.SIGSTOP)
    eventually(lambda: not up.tasks()[0]["healthy"], within_s=2.5)
    assert up.tasks()[0]["health"] == "no answer in 0.3 s"
    os.kill(task["pid"], signal.SIGCONT)
    assert up.healthy(1)[0]["exits"] == 0


def test_a_restarted_grpc_task_is_healthy_again(up: Running) -> None:
    up.client.apply("g", 1, [a_port_set(argv=GRPC, health={"kind": "grpc", **FAST})])
    os.kill(up.healthy(1)[0]["pid"], signal.SIGKILL)
    eventually(lambda: up.tasks()[0]["exits"] == 1)
    assert up.healthy(1)[0]["state"] == "running"


@pytest.mark.parametrize(
    ("service", "text"),
    [("ill", "NOT_SERVING"), ("x", "the service 'x' is not known to the health service")],
)
def test_a_grpc_task_that_does_not_serve_is_unhealthy(up: Running, service, text) -> None:
    health = {"kind": "grpc", "service": service, **FAST}
    up.client.apply("g", 1, [a_port_set(argv=GRPC, health=health)])
    eventually(lambda: up.tasks()[0]["health"] == text)
    assert (up.tasks()[0]["healthy"], up.tasks()[0]["state"]) == (False, "starting")


@pytest.mark.parametrize(("path", "healthy"), [("/204", True), ("/500", False), ("/302", False)])
def test_an_http_task_is_healthy_with_a_2xx(up: Running, path, healthy) -> None:
    health = {"kind": "http", "path": path, **FAST}
    up.client.apply("g", 1, [a_port_set(argv=HTTP, health=health)])
    eventually(lambda: up.tasks()[0]["health"] == f"HTTP {path[1:]}")
    assert up.tasks()[0]["healthy"] is healthy


def test_an_http_task_that_is_paused_becomes_unhealthy(up: Running) -> None:
    health = {"kind": "http", "path": "/200", **FAST}
    up.client.apply("g", 1, [a_port_set(argv=HTTP, health=health)])
    os.kill(up.healthy(1)[0]["pid"], signal.SIGSTOP)
    eventually(lambda: not up.tasks()[0]["healthy"], within_s=2.5)


def test_a_task_that_speaks_no_http_is_unhealthy(up: Running) -> None:
    up.client.apply("g", 1, [a_port_set(health={"kind": "http", **FAST})])
    eventually(lambda: up.tasks()[0]["health"] not in ("not probed yet", "connection refused"))
    assert not up.tasks()[0]["healthy"]


def test_a_start_is_noticed_soon_after_the_port_opens(up: Running) -> None:
    up.client.apply("g", 1, [a_port_set(health={"kind": "tcp", "interval_s": 5.0})])
    asked = time.monotonic()
    up.healthy(1)
    assert time.monotonic() - asked < 1.5
