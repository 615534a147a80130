"""Says in a sentence why a program cannot listen where it was told to.

Called by ``server.py`` and ``client.py`` just before they bind: gRPC keeps the reason from its
caller and uvicorn writes it as a log line.
"""

import os
import socket


class ListenError(Exception):
    """The address to listen on is not to be had; the text is for a person."""


def address(host: str, port: int) -> str:
    """``host:port``, as gRPC and people write it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def try_to_listen(host: str, port: int) -> None:
    """Listen for a moment. Raises ListenError when another has the port or the host is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as refused:
        why = os.strerror(refused.errno or 0)
        raise ListenError(f"Cannot listen on {address(host, port)}: {why}.") from None
