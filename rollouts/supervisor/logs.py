"""The log file of one child: appended to by the child itself, read and kept short by us.

The child writes straight to the file and not through us: a killed supervisor must not take the
last words of its children along, nor block them.
"""

import os
from pathlib import Path
from typing import BinaryIO

MAX_BYTES = 5_000_000
READ_BYTES = 256_000


class LogFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> BinaryIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.path.open("ab")

    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def tail(self, lines: int, *, since: int = 0) -> list[str]:
        """The last lines, of the bytes after ``since`` only and of 256 kB at most."""
        size = self.size()
        # The file has been cut in between: all that is left is newer.
        start = since if since <= size else 0
        return (
            self._read(max(start, size - READ_BYTES)).decode(errors="replace").splitlines()[-lines:]
        )

    def keep_short(self) -> None:
        """Above 5 MB, move the content to "<name>.1" and go on with an empty file.

        The child keeps its descriptor, so the file is copied and cut, not renamed. What it
        writes between the two is lost.
        """
        size = self.size()
        if size <= MAX_BYTES:
            return
        self.path.with_name(self.path.name + ".1").write_bytes(self._read(size - MAX_BYTES))
        os.truncate(self.path, 0)

    def _read(self, start: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                return file.read(MAX_BYTES)
        except FileNotFoundError:
            return b""
