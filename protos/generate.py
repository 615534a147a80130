"""Writes the generated Python of ``echo.proto``, or says that the committed one is out of date.

Called by people (``python -m protos.generate``) and by lint (``--check``). It needs grpcio-tools, a
development dependency: nothing that runs in production may import it. What it runs is, at the
root of the repository:

    python -m grpc_tools.protoc -I . \\
        --python_out=. --pyi_out=. --grpc_python_out=. protos/echo.proto
"""

import argparse
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
# The path from the root is part of the output: it makes `from protos import echo_pb2` work.
SOURCE = "protos/echo.proto"
GENERATED = ("protos/echo_pb2.py", "protos/echo_pb2.pyi", "protos/echo_pb2_grpc.py")


def generate(into: Path) -> None:
    """Write the files named in GENERATED below ``into``, an existing directory.

    Raises CalledProcessError when protoc refuses the source; protoc has said why on stderr.
    """
    outputs = [f"--{kind}_out={into}" for kind in ("python", "pyi", "grpc_python")]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I", ".", *outputs, SOURCE],
        cwd=ROOT,
        check=True,
    )


def out_of_date() -> list[str]:
    """Name the committed files, relative to the root, that are not what the source generates."""
    with TemporaryDirectory() as fresh:
        generate(Path(fresh))
        return [name for name in GENERATED if _text(ROOT / name) != _text(Path(fresh) / name)]


def _text(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def main() -> None:
    """Generate, or with ``--check`` write nothing and exit 1 on any difference."""
    options = argparse.ArgumentParser(prog="python -m protos.generate", description=__doc__)
    options.add_argument("--check", action="store_true", help="compare only; exit 1 on difference")
    try:
        if not options.parse_args().check:
            generate(ROOT)
        elif stale := out_of_date():
            sys.exit(
                f"{', '.join(stale)}: not what {SOURCE} generates; "
                "run python -m protos.generate and commit the result."
            )
    except subprocess.CalledProcessError:
        sys.exit(f"protoc refused {SOURCE}.")


if __name__ == "__main__":
    main()
