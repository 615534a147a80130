"""Builds and pushes with a Docker engine, over docker-py. Only in the worker of queue ``build``.

The engine reports failure inside its stream, so every message is looked at for an error. A thread
reads the stream: a step that prints nothing for minutes must not keep us from seeing that the
build was cancelled, or has taken too long.
"""

from __future__ import annotations

import io
import queue
import re
import socket
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from typing import Any
from urllib.parse import urlsplit

import requests
from django.conf import settings
from docker import APIClient
from docker.errors import DockerException
from urllib3.exceptions import HTTPError

from rollouts.builders.base import BuildProgress
from rollouts.builders.docker import Recipe
from rollouts.errors import BuildError

EVERY_S = 0.3
CALL_S = 60  # to the first byte of an answer, and between two chunks of quick calls
DIGEST = re.compile(r"digest: (sha256:[0-9a-f]{64})")
# A step of a build gets half of the share of a processor that a process has by default.
CPU_SHARES = 512
_END = object()
# docker-py lets those of requests, urllib3 and the JSON of a cut stream through.
BROKEN = (DockerException, requests.RequestException, HTTPError, OSError, ValueError)


def build_and_push(recipe: Recipe) -> Generator[BuildProgress, None, None]:
    """The whole work as progress; raises BuildError. Closing the iterator ends it."""
    deadline = time.monotonic() + settings.BUILD_SECONDS
    name = f"{recipe.repository}:{recipe.tag}"
    try:
        with closing(_client()) as client:
            yield BuildProgress("building", [f"Building {name} with {recipe.dockerfile}."])
            for lines, _ in _followed(_build(client, recipe, name), deadline):
                yield BuildProgress("building", lines)
            digest = ""
            yield BuildProgress("pushing", [f"Pushing {name}."])
            for lines, told in _followed(_push(client, recipe), deadline):
                yield BuildProgress("pushing", lines)
                digest = told or digest
    except BROKEN as error:
        raise BuildError(f"The Docker engine cannot be used: {error}", permanent=True) from error
    if not digest:
        raise BuildError("The registry took the image but named no digest.", permanent=True)
    yield BuildProgress("succeeded", [f"Pushed {digest}."], image=f"{recipe.repository}@{digest}")


def _client() -> APIClient:
    _knock()
    return APIClient(base_url=settings.DOCKER_HOST, version="auto", timeout=CALL_S)


def _knock() -> None:
    """Raises OSError when nobody listens: docker-py would find out, and leave a socket open."""
    where = urlsplit(settings.DOCKER_HOST)
    if where.scheme == "unix":
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(CALL_S)
            door.connect(where.path)
    else:
        socket.create_connection((where.hostname, where.port), CALL_S).close()


def _build(client: APIClient, recipe: Recipe, name: str) -> _Reader:
    memory = settings.BUILD_MEMORY_MB * 1024 * 1024
    return _Reader(
        client,
        lambda: client.build(
            fileobj=io.BytesIO(recipe.context), custom_context=True,
            dockerfile=recipe.dockerfile, tag=name, buildargs=dict(recipe.arguments),
            rm=True, forcerm=True, decode=True, timeout=settings.BUILD_SECONDS + CALL_S,
            container_limits={"memory": memory, "memswap": memory, "cpushares": CPU_SHARES},
        ),
    )  # fmt: skip


def _push(client: APIClient, recipe: Recipe) -> _Reader:
    login = dict(recipe.login) if recipe.login else None
    return _Reader(
        client,
        lambda: client.push(
            recipe.repository, tag=recipe.tag, stream=True, decode=True, auth_config=login
        ),
    )


def _followed(reader: _Reader, deadline: float) -> Generator[tuple[list[str], str], None, None]:
    """New lines and the digest, once it is told, every ``EVERY_S``; raises BuildError."""
    told = _Said()
    with closing(reader):
        while not told.ended:
            if time.monotonic() > deadline:
                raise BuildError(
                    f"The build took longer than {settings.BUILD_SECONDS} s.", permanent=True
                )
            for message in reader.messages(EVERY_S):
                told.hear(message)
            yield told.take()
            if told.error:
                raise BuildError(told.error, permanent=True)


class _Said:
    """What the messages of one stream said so far."""

    def __init__(self) -> None:
        self.ended, self.error = False, ""
        self._lines: list[str] = []
        self._rest, self._digest = "", ""

    def hear(self, message: Any) -> None:
        if message is _END:
            self.ended = True
            self._lines += [self._rest] if self._rest else []
        elif isinstance(message, Exception):
            self.ended, self.error = True, f"The Docker engine broke off: {message}"
        elif isinstance(message, Mapping):
            self._read(message)

    def _read(self, message: Mapping[str, Any]) -> None:
        if "error" in message or "errorDetail" in message:
            detail = message.get("errorDetail") or {}
            self.error = str(detail.get("message") or message.get("error") or "It failed.").strip()
            self._lines.append(self.error)
        elif "stream" in message:
            *whole, self._rest = (self._rest + str(message["stream"])).split("\n")
            self._lines += whole
        elif "status" in message and "progress" not in message:
            layer = f"{message['id']}: " if message.get("id") else ""
            self._lines.append(f"{layer}{message['status']}")
            if found := DIGEST.search(str(message["status"])):
                self._digest = found[1]
        if isinstance(message.get("aux"), Mapping):
            self._digest = str(message["aux"].get("Digest") or self._digest)

    def take(self) -> tuple[list[str], str]:
        lines, self._lines = self._lines, []
        return lines, self._digest


class _Reader:
    """Reads a stream of docker-py in a thread; ``close`` cuts the connection.

    The engine ends a build whose client has gone.
    """

    def __init__(self, client: APIClient, begin: Any) -> None:
        self._client, self._begin = client, begin
        self._answer: requests.Response | None = None
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=10_000)
        self._closed = threading.Event()
        client.hooks["response"] = [self._keep]
        self._thread = threading.Thread(target=self._run, name="docker-stream", daemon=True)
        self._thread.start()

    def _keep(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self._answer = response

    def _run(self) -> None:
        try:
            for message in self._begin():
                self._put(message)
            self._put(_END)
        except BROKEN as error:
            self._put(error)

    def _put(self, message: Any) -> None:
        while not self._closed.is_set():
            with suppress(queue.Full):
                self._queue.put(message, timeout=EVERY_S)
                return

    def messages(self, within_s: float) -> list[Any]:
        """What came, after at most ``within_s`` seconds; at once when the stream ended."""
        found: list[Any] = []
        until = time.monotonic() + within_s
        while (left := until - time.monotonic()) > 0:
            with suppress(queue.Empty):
                found.append(self._queue.get(timeout=left))
                if found[-1] is _END or isinstance(found[-1], Exception):
                    break
        return found

    def close(self) -> None:
        self._closed.set()
        raw = getattr(self._answer, "raw", None)
        held = getattr(getattr(raw, "connection", None), "sock", None)
        if isinstance(held, socket.socket):
            with suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)
        self._thread.join(5.0)
