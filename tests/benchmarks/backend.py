"""A cheap HTTP/1.1 server that names its version in ``x-version``; what the load is sent to.

``python -m tests.benchmarks.backend PORT VERSION``. A few microseconds an answer, so that a
benchmark measures the mesh and not the service.
"""

import asyncio
import sys
from typing import cast

import uvloop

END = b"\r\n\r\n"


class Answers(asyncio.Protocol):
    """One connection; requests have no body and may come in a row."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No isinstance: the transports of uvloop are not registered as such.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *requests, self._rest = (self._rest + data).split(END)
        self._transport.write(self._answer * len(requests))


async def serve(port: int, version: str) -> None:
    answer = f"HTTP/1.1 200 OK\r\nx-version: {version}\r\ncontent-length: 0\r\n\r\n".encode()
    server = await asyncio.get_running_loop().create_server(
        lambda: Answers(answer), "127.0.0.1", port
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2]))
