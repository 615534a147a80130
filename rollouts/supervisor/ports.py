"""Loopback ports: which are free, which to give to the next task, and who holds a taken one.

Called by `groups.py` and `fixed.py`.
"""

import random
import socket
from collections.abc import Container
from pathlib import Path

from rollouts.supervisor.errors import Refused

HOST = "127.0.0.1"
# Below the ranges that Linux (32768) and macOS (49152) give to outgoing connections: otherwise
# a client could be sitting on the port of a task that is just being restarted.
FIRST, LAST = 20_000, 31_999
LISTEN = "0A"


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of an earlier server in TIME_WAIT do not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def ours(port: int) -> bool:
    """Whether the port is one that `next_port` gives."""
    return FIRST <= port <= LAST


def any_port() -> int:
    """Where a new install starts to count, so that two installs seldom meet."""
    return random.randint(FIRST, LAST)  # noqa: S311 - not a secret


def next_port(after: int, taken: Container[int | None]) -> int:
    """The next free port above ``after``, from the start again at the end of the range.

    Counting up, not the lowest free one: a port comes back only after thousands of others, so
    that a caller with an old address never reaches a task of another version.
    """
    size = LAST - FIRST + 1
    for step in range(1, size + 1):
        port = FIRST + (after - FIRST + step) % size
        if port not in taken and is_free(port):
            return port
    raise Refused(f"No port from {FIRST} to {LAST} is free.", permanent=False)


def holder(port: int) -> str:
    """The program that listens on the port, as "name (pid 12)"; "" when it cannot be found out."""
    inodes = _listening_inodes(port)
    if not inodes:
        return ""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for folder in Path("/proc").glob("[0-9]*"):
        if _holds(folder, wanted):
            name = (folder / "comm").read_text().strip()
            return f"{name} (pid {folder.name})"
    return ""


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                found.add(columns[9])
    return found


def _holds(folder: Path, sockets: set[str]) -> bool:
    try:
        return any(str(fd.readlink()) in sockets for fd in (folder / "fd").iterdir())
    except OSError:  # it has ended meanwhile, or belongs to somebody else
        return False
