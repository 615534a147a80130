"""The HTTP front of the echo server: one page that asks it, one that says whether it can, and one
that says that this program is alive.

Run alone, in two consoles, then ask:

    python -m echo_services.server
    python -m echo_services.client
    curl 'http://127.0.0.1:8080/?name=Yizumi'

Settings: ``PORT`` (8080), ``HOST`` (127.0.0.1; 0.0.0.0 in a container), ``SERVER_ENDPOINT``
(127.0.0.1:50051: the server, or the mesh's listener in front of it), ``SERVER_AUTHORITY`` (the
name a mesh routes by, such as echo_server.echo.local), ``SERVER_TLS`` (1: speak TLS to the
endpoint, whose certificate must be for SERVER_AUTHORITY, or without that for the endpoint's host;
``SERVER_CA`` in PEM form or ``SERVER_CA_FILE`` say whom to trust instead of everybody's
authorities), ``TIMEOUT_MS`` (3000, for each call) and ``LOG_LEVEL`` (WARNING). A bad value ends it
with code 2 and a port that is taken with code 1, each with a sentence on stderr.

It starts without the server and finds it later. On SIGTERM running requests have 3 s to finish.
"""

import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

import uvicorn

from echo_services import environment
from echo_services.caller import Answer, Caller, open_channel
from echo_services.environment import Environment, SettingError, Tls
from echo_services.listening import ListenError, try_to_listen

DEFAULT_NAME = "Yizumi"
LONGEST_NAME = 200
SHUTDOWN_SECONDS = 3
# A proxy in front reuses quiet connections. uvicorn would close them after 5 s, now and then just
# as the next request is on its way; the longer they live, the rarer that is.
KEEP_ALIVE_SECONDS = 75

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the client runs with."""

    host: str
    port: int
    endpoint: str
    authority: str | None
    tls: Tls | None
    timeout_ms: int
    log_level: str

    @classmethod
    def from_environment(cls, env: Environment) -> "Settings":
        """Raises SettingError, naming the variable."""
        return cls(
            host=environment.host(env),
            port=environment.port(env, 8080),
            endpoint=environment.endpoint(env, "SERVER_ENDPOINT", "127.0.0.1:50051"),
            authority=environment.authority(env, "SERVER_AUTHORITY"),
            tls=environment.tls(env),
            timeout_ms=environment.whole(env, "TIMEOUT_MS", 3000, least=1, most=60_000),
            log_level=environment.log_level(env),
        )


def requested_name(query: bytes) -> str:
    """The ``name`` of a query string, DEFAULT_NAME without one. Raises ValueError on a bad one."""
    if not query:
        return DEFAULT_NAME
    # UnicodeDecodeError is a ValueError, and so is what parse_qs raises on too many fields.
    fields = parse_qs(query.decode(), keep_blank_values=True, errors="strict", max_num_fields=20)
    name = fields.get("name", [DEFAULT_NAME])[0]
    if not (0 < len(name) <= LONGEST_NAME and name.isprintable()):
        raise ValueError(name)
    return name


class App:
    """The ASGI application. It opens its channel when the event loop runs and closes it after."""

    # Set by the lifespan, which uvicorn completes before it takes a request.
    _caller: Caller

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One HTTP request, or the life of the program."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        status, text, headers = await self._answer(scope)
        body = text.encode()
        fixed = (
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
        )
        await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Message) -> Answer:
        if scope["path"] not in {"/", "/ping", "/alive"}:
            return Answer(HTTPStatus.NOT_FOUND, "There is nothing here but /, /ping and /alive.")
        if scope["method"] != "GET":
            refusal = "Only GET is understood here."
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, refusal, ((b"allow", b"GET"),))
        if scope["path"] == "/alive":  # of this program alone; /ping asks the server too
            return Answer(HTTPStatus.OK, "Alive.")
        if scope["path"] == "/ping":
            return await self._caller.ping()
        try:
            name = requested_name(scope["query_string"])
        except ValueError:
            refusal = f"name must be 1 to {LONGEST_NAME} printable characters."
            return Answer(HTTPStatus.BAD_REQUEST, refusal)
        return await self._caller.greet(name)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        # Not earlier: a channel belongs to the event loop it was made in.
        settings = self._settings
        async with open_channel(settings.endpoint, settings.authority, settings.tls) as channel:
            self._caller = Caller(channel, settings.timeout_ms)
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


def http_server(settings: Settings) -> uvicorn.Server:
    """uvicorn, with everything off that costs time on each request."""
    config = uvicorn.Config(
        App(settings),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_level=settings.log_level.lower(),
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    return uvicorn.Server(config)


def main() -> None:
    """Run the client with the settings of the environment."""
    try:
        settings = Settings.from_environment(os.environ)
        try_to_listen(settings.host, settings.port)
    except SettingError as refused:
        print(refused, file=sys.stderr)
        sys.exit(2)
    except ListenError as refused:
        sys.exit(str(refused))  # Which also means code 1.
    logging.basicConfig(level=settings.log_level, format="%(levelname)s %(name)s %(message)s")
    # uvicorn raises the signal again when it has shut down; being asked to stop is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    print(f"Echo Client for {settings.endpoint}")
    print(f"Starting on port: {settings.port}, ssl: false", flush=True)
    http_server(settings).run()


if __name__ == "__main__":
    main()
