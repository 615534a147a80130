"""``python -m tests.benchmarks [--full] [--seed N] [B1 B3 …]``: run, check, print, write.

Starts one product for all that need it. Writes ``bench-results/<name>.json``; ends with code 1 when
a check failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.benchmarks import environment, machine
from tests.benchmarks.result import Result

BENCHMARKS = {
    "B1": "tests.benchmarks.rollback",
    "B3": "tests.benchmarks.split",
    "B11": "tests.benchmarks.aws_step",
}
RESULTS = Path("bench-results")
SEED = 20201


def main() -> int:
    asked = _asked()
    with tempfile.TemporaryDirectory(prefix="meshui-bench-", ignore_cleanup_errors=True) as folder:
        environment.settle(Path(folder))
        with _product(asked.names) as running:
            results = [_run(name, running, asked) for name in asked.names]
    return 1 if any(result.wrong for result in results) else 0


def _product(names: list[str]) -> AbstractContextManager[object]:
    """The product, unless none of these benchmarks needs it."""
    # Imported only now: they read the settings.
    if not any(getattr(import_module(BENCHMARKS[n]), "NEEDS_PRODUCT", True) for n in names):
        return nullcontext()
    made: AbstractContextManager[object] = import_module("tests.benchmarks.stack").Product()
    return made


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.benchmarks")
    parser.add_argument("names", nargs="*", metavar="B1", choices=[*BENCHMARKS, []])
    parser.add_argument("--full", action="store_true", help="more trials; takes much longer")
    parser.add_argument("--seed", type=int, default=SEED)
    asked = parser.parse_args()
    asked.names = asked.names or list(BENCHMARKS)
    return asked


def _run(name: str, running: object, asked: argparse.Namespace) -> Result:
    began, stolen, load = time.monotonic(), machine.stolen_s(), machine.load_average()
    result: Result = import_module(BENCHMARKS[name]).run(running, full=asked.full, seed=asked.seed)
    around = {
        "command": sys.argv[1:],
        "full": asked.full,
        "seed": asked.seed,
        "seconds": round(time.monotonic() - began, 1),
        "load_average": [load, machine.load_average()],
        "stolen_s": machine.stolen_s() - stolen,
    }
    _write(name, result, around)
    _print(result, around)
    return result


def _write(name: str, result: Result, around: dict[str, Any]) -> None:
    """A result whose check failed has no numbers, only what was wrong and the raw samples."""
    lines = [] if result.wrong else [vars(line) for line in result.lines]
    body = {"title": result.title, **around, "machine": machine.facts()}
    body |= {"wrong": result.wrong, "lines": lines, "raw": result.raw}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(body, indent=1, default=str) + "\n")


def _print(result: Result, around: dict[str, Any]) -> None:
    load = " → ".join(f"{value:.1f}" for value in around["load_average"])
    print(
        f"\n{result.title}   {around['seconds']} s, load {load}, stolen {around['stolen_s']:.1f} s"
    )
    for sentence in result.wrong:
        print(f"  WRONG, no numbers: {sentence}")
    for line in [] if result.wrong else result.lines:
        numbers = "   ".join(f"{name} {value}" for name, value in line.numbers.items())
        print(f"  {line.what:<58} n {line.n:<7} {numbers}")


if __name__ == "__main__":
    sys.exit(main())
