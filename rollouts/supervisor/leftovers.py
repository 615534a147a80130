"""Remembers which children are alive, so that a new supervisor can end those of a killed one.

On Linux the kernel sends them SIGTERM, but they may take their time and still hold their ports
when the next supervisor starts; a paused one never acts on it. Elsewhere nobody tells them.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

GRACE_S = 2.0
POLL_S = 0.02


class PidBook:
    """One small file for each living child: its pid and its time of birth.

    Pids are used again; a pid with the same birth is the same process.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, name: str, pid: int) -> None:
        with suppress(OSError):  # a full disk must not end a child that has just started well
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file(name).write_text(f"{pid} {born(pid)}")

    def remove(self, name: str) -> None:
        self._file(name).unlink(missing_ok=True)

    def end_leftovers(self) -> list[str]:
        """End what an earlier supervisor left; returns "name (pid 12)" for each. Blocks ≤ 4 s."""
        left = {file: pid for file in self._folder.glob("*.pid") if (pid := _same_process(file))}
        for signum in (signal.SIGTERM, signal.SIGKILL):
            _end([pid for file, pid in left.items() if _same_process(file)], signum)
            _wait_for_end(list(left))
        for file in self._folder.glob("*.pid"):
            file.unlink(missing_ok=True)
        return [f"{file.stem.replace('+', '/')} (pid {pid})" for file, pid in left.items()]

    def _file(self, name: str) -> Path:
        return self._folder / f"{name.replace('/', '+')}.pid"


def born(pid: int) -> str:
    """When the process was born, in words of the system; "" for one that has ended."""
    if sys.platform != "linux":
        asked = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return asked.stdout.strip().replace(" ", "_")
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # proc(5): the name in parentheses may hold blanks, so count from its end: state, ..., start.
    columns = stat.rpartition(")")[2].split()
    return "" if columns[0] == "Z" else columns[19]


def _same_process(file: Path) -> int | None:
    try:
        pid, birth = file.read_text().split()
    except (OSError, ValueError):  # half written by a killed supervisor
        return None
    return int(pid) if born(int(pid)) == birth else None


def _end(pids: list[int], signum: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signum)
            os.killpg(pid, signal.SIGCONT)


def _wait_for_end(files: list[Path]) -> None:
    deadline = time.monotonic() + GRACE_S
    while any(_same_process(file) for file in files) and time.monotonic() < deadline:
        time.sleep(POLL_S)
