import shutil
import subprocess
import sys

import pytest

from tests.echo_services.programs import ROOT


@pytest.fixture
def copied(tmp_path):
    """A copy of the protos package that may be changed."""
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    return tmp_path


def generate(root, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "protos.generate", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )


def change(root, old, new):
    source = root / "protos" / "echo.proto"
    source.write_text(source.read_text().replace(old, new))


def test_the_committed_code_is_what_the_source_generates():
    checked = generate(ROOT, "--check")

    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_changed_source_is_noticed_until_it_is_generated_again(copied):
    change(copied, "string message = 1;", "string message = 2;")

    checked = generate(copied, "--check")
    assert checked.returncode == 1
    assert checked.stderr == (
        "protos/echo_pb2.py: not what protos/echo.proto generates; "
        "run python -m protos.generate and commit the result.\n"
    )

    assert generate(copied).returncode == 0
    assert generate(copied, "--check").returncode == 0


def test_a_missing_file_is_noticed(copied):
    (copied / "protos" / "echo_pb2.pyi").unlink()

    assert "protos/echo_pb2.pyi: not what" in generate(copied, "--check").stderr


def test_a_source_that_is_no_proto_is_refused(copied):
    change(copied, "message EchoRequest", "massage EchoRequest")

    refused = generate(copied)

    assert refused.returncode == 1
    assert refused.stderr.endswith("protoc refused protos/echo.proto.\n")
