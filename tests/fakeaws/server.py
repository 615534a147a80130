"""The fake as an HTTP server on loopback: control verbs, the log of calls, failures, then moto.

``Server`` runs in a thread of this process; ``python -m tests.fakeaws`` and the fixtures start it.
"""

from __future__ import annotations

import io
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from moto.ec2.models import amis
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.utilities.utils import load_resource
from werkzeug.serving import make_server
from werkzeug.test import run_wsgi_app

from tests.fakeaws import calls, control, inject, world

# In this order: later ones may build on what earlier ones patched.
MODULES = (
    "vpc", "iam", "ecr", "secrets", "cloudmap", "ecs", "codebuild", "leftovers",
    "elbv2", "appmesh", "cloudformation", "drift",
)  # fmt: skip

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


def install() -> None:
    """Patch moto with every module there is. Harmless when repeated."""
    amis.load_resource = _few_images  # type: ignore[attr-defined]
    for name in MODULES:
        path = f"tests.fakeaws.{name}"
        if find_spec(path):
            import_module(path).install()


def _few_images(resource: str) -> Any:
    """moto would make over 1,200 machine images for ECS anew at every reset, for up to a second."""
    return [] if "optimized_amis" in resource else load_resource(resource)


class Handler(MotoRequestHandler):
    """Quiet, and within reach of the application, which may want to hang up."""

    def make_environ(self) -> Environ:
        environ: Environ = super().make_environ()
        environ["fakeaws.handler"] = self
        return environ

    def log(self, type: str, message: str, *args: Any) -> None:
        """Requests are in ``calls``."""


class Application:
    """WSGI: verbs of the control endpoint, or an AWS call that is recorded and may fail."""

    def __init__(self) -> None:
        self.moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        body = _body(environ)
        path = str(environ["PATH_INFO"])
        if path.startswith(control.PREFIX):
            status, told = control.answer(path.removeprefix(control.PREFIX), body)
            return _send(start_response, status, {"Content-Type": "application/json"}, told)
        if path.startswith("/moto-api"):
            return self.moto(environ, start_response)  # type: ignore[no-any-return]
        return self._aws(environ, body, start_response)

    def _aws(self, environ: Environ, body: bytes, start: StartResponse) -> Iterable[bytes]:
        call = calls.named(environ, body)
        rule = inject.draw(call)
        calls.log.append(call)
        if rule is None:
            return _send(start, *self._answered(call, environ))
        call.injected, call.outcome = True, rule.error
        call.took_effect = False
        if rule.error.endswith("-after"):
            self._answered(call, environ)
            call.took_effect, call.outcome = call.outcome == "ok", rule.error
        if rule.error in inject.DROPS:
            _hang_up(environ, rule.seconds if rule.error.startswith("timeout") else 0)
        return _send(start, *inject.refusal(call, rule.error))

    def _answered(self, call: calls.Call, environ: Environ) -> tuple[int, dict[str, str], bytes]:
        call.outcome = "InternalFailure"  # what werkzeug makes of an exception of ours or moto's
        with world.LOCK:
            world.tick()
            chunks, status, headers = run_wsgi_app(self.moto, environ, buffered=True)
        sent = dict(headers.items(lower=True))
        told = b"".join(chunks)
        code = int(status.split()[0])
        call.outcome = calls.outcome_of(code, sent, told)
        return code, sent, told


def _body(environ: Environ) -> bytes:
    """The request's body, which stays readable for moto."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body: bytes = environ["wsgi.input"].read(length) if length else b""
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _send(
    start: StartResponse, status: int, headers: dict[str, str], body: bytes
) -> Iterable[bytes]:
    kept = {name: value for name, value in headers.items() if name.lower() != "content-length"}
    start(f"{status} X", [*kept.items(), ("Content-Length", str(len(body)))])
    return [body]


def _hang_up(environ: Environ, silence_s: float) -> None:
    """Say nothing for a while (or until the client has had enough), then reset the connection."""
    handler = environ["fakeaws.handler"]
    connection: socket.socket = handler.connection
    until = time.monotonic() + silence_s
    while time.monotonic() < until and not world.STOPPING.is_set():
        if select.select([connection], [], [], 0.05)[0] and not _more_to_read(connection):
            break
    handler.close_connection = True
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise ConnectionResetError("hung up on purpose")


def _more_to_read(connection: socket.socket) -> bool:
    with suppress(OSError):
        return bool(connection.recv(1, socket.MSG_PEEK))
    return False


class Server:
    """The fake in a thread. ``url`` is known after ``start``."""

    def __init__(self, port: int = 0) -> None:
        install()
        world.STOPPING.clear()
        self._server = make_server(
            "127.0.0.1", port, Application(), threaded=True, request_handler=Handler
        )
        # A client that waits for a silent answer must not keep the process from ending.
        self._server.daemon_threads = True  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._serve, name="fakeaws", daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends within a second, whatever clients still wait for."""
        world.STOPPING.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
