"""Ports for tests: free, and not of the range that the kernel gives to outgoing connections.

A port of that range may be free now and the near end of somebody's connection a moment later.
Each process counts through a stretch of its own, so that two do not find the same one.
"""

from __future__ import annotations

import itertools
import os
import socket

FIRST, LAST = 10_000, 19_900  # tasks of the supervisor begin at 20,000
_next = itertools.count(os.getpid() * 131)


def free_port() -> int:
    """A loopback port on which nobody listens. Raises LookupError when there is none."""
    for _ in range(LAST - FIRST):
        port = FIRST + next(_next) % (LAST - FIRST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise LookupError(f"no port from {FIRST} to {LAST} is free")
