"""``make test``: the whole suite on SQLite, then the parts that touch rows again on PostgreSQL.

PostgreSQL comes from a wheel and runs in a temporary folder; run as root it drops to another user.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS = "not envoy and not stack and not browser and not docker and not soak"
ROW_TESTS = ["tests/test_actions.py", "tests/test_reconcile.py", "tests/test_doors.py"]
ROW_TESTS += ["tests/test_provision.py", "tests/sampler", "tests/web", "tests/test_admin.py"]
ROW_TESTS += ["tests/test_stacks_actions.py", "tests/test_locks.py", "tests/builders"]


def main() -> int:
    began = time.monotonic()
    code = _pytest({}, "-m", "not soak", "tests")
    if code:
        return code
    print("\nAgain on PostgreSQL: everything that touches rows", flush=True)
    with tempfile.TemporaryDirectory(prefix="meshui-pg-") as folder:
        code = _on_postgres(Path(folder))
    print(f"make test took {time.monotonic() - began:.0f} s", flush=True)
    return code


def _on_postgres(folder: Path) -> int:
    from tests.postgres import running

    tests = [name for name in ROW_TESTS if Path(name).exists()]
    with running(folder) as url:
        return _pytest({"DATABASE_URL": url}, "-m", ROWS, *tests)


def _pytest(environment: dict[str, str], *arguments: str) -> int:
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
