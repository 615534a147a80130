"""``make test``: the whole suite, in two halves side by side.

One half starts real things (Envoy, the whole stack, a browser) and mostly waits for them; the other
is the rest on SQLite, then what touches rows again on PostgreSQL. They share nothing: every test
has ports, folders and databases of its own. PostgreSQL comes from a wheel and runs in a temporary
folder; run as root it drops to another user.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REAL = "(envoy or stack or browser) and not soak"
REST = "not envoy and not stack and not browser and not soak"
ROWS = f"{REST} and not docker"
ROW_TESTS = ["tests/test_actions.py", "tests/test_reconcile.py", "tests/test_doors.py"]
ROW_TESTS += ["tests/test_provision.py", "tests/sampler", "tests/web", "tests/test_admin.py"]
ROW_TESTS += ["tests/test_stacks_actions.py", "tests/test_locks.py", "tests/builders"]
GRACE_S = 20


def main(words: list[str]) -> int:
    if words == ["rest"]:
        return rest()
    began = time.monotonic()
    with tempfile.TemporaryFile() as told:
        other = subprocess.Popen(
            [sys.executable, "-m", "tests.run", "rest"], stdout=told, stderr=subprocess.STDOUT
        )
        try:
            code = _pytest({}, "-m", REAL, "tests")
            code = other.wait() or code
        except KeyboardInterrupt:
            code = 130
        finally:
            _end(other)
        told.seek(0)
        sys.stdout.buffer.write(told.read())
    print(f"make test took {time.monotonic() - began:.0f} s", flush=True)
    return code


def rest() -> int:
    """The half that starts nothing, then its rows on PostgreSQL."""
    print("\nThe rest, beside them", flush=True)
    code = _pytest({}, "-m", REST, "tests")
    print("\nAgain on PostgreSQL: everything that touches rows", flush=True)
    with tempfile.TemporaryDirectory(prefix="meshui-pg-") as folder:
        return _on_postgres(Path(folder)) or code


def _on_postgres(folder: Path) -> int:
    from tests.postgres import running

    tests = [name for name in ROW_TESTS if Path(name).exists()]
    with running(folder) as url:
        return _pytest({"DATABASE_URL": url}, "-m", ROWS, *tests)


def _pytest(environment: dict[str, str], *arguments: str) -> int:
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, check=False).returncode


def _end(other: subprocess.Popen[bytes]) -> None:
    if other.poll() is None:
        other.send_signal(signal.SIGINT)
        try:
            other.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            other.kill()
            other.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
