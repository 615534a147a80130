"""A real Docker engine and a real registry on loopback, with a base image made from this Python.

Debian's docker.io and docker-registry are installed when they are missing and we may; otherwise the
tests that need them are skipped with the reason. Both run in a folder of their own and are ended by
their pids.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import docker
import pytest
import requests
from docker.errors import DockerException

from tests.ports import free_port

PACKAGES = ("docker.io", "docker-registry")
PROGRAMS = ("dockerd", "docker-registry")
LIBRARIES = ("click", "grpcio", "grpcio-health-checking", "grpcio-reflection", "h11", "protobuf",
             "typing-extensions", "uvicorn", "uvloop")  # fmt: skip
NOT_NEEDED = {"test", "tests", "idlelib", "lib2to3", "tkinter", "turtledemo", "ensurepip",
              "site-packages", "__pycache__", "distutils", "pydoc_data"}  # fmt: skip
BASE = "meshui/python:base"
START_S = 30.0


@dataclass
class Engine:
    """``host`` as in DOCKER_HOST; ``registry`` as host and port."""

    host: str
    registry: str
    log: Path

    def client(self) -> docker.APIClient:
        return docker.APIClient(base_url=self.host, version="auto", timeout=60)


@contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """Both running, with the base image in the engine."""
    _install()
    port = free_port()
    made = Engine(f"unix://{folder}/docker.sock", f"127.0.0.1:{port}", folder / "dockerd.log")
    with _registry(folder, port), _dockerd(folder, made):
        with closing(made.client()) as client:
            client.import_image_from_data(base_image(), repository=BASE.split(":")[0], tag="base")
        yield made


def _install() -> None:
    if all(shutil.which(program) for program in PROGRAMS):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip("dockerd and docker-registry are missing, and only root may install them.")
    options = ["-o", "DPkg::Lock::Timeout=120", "-qq"]
    for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(["apt-get", *options, *command], capture_output=True, text=True,
                              check=False)  # fmt: skip
    if done.returncode:
        pytest.skip(f"docker.io and docker-registry cannot be installed: {done.stderr[-300:]}")


@contextmanager
def _running(argv: list[str], log: Path, ready: Callable[[], bool]) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + START_S
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"{argv[0]} does not start here: {log.read_text()[-600:]}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _registry(folder: Path, port: int) -> Iterator[None]:
    settings = folder / "registry.yml"
    settings.write_text(
        "version: 0.1\n"
        "log: {level: warn}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    argv = ["docker-registry", "serve", str(settings)]
    with _running(argv, folder / "registry.log", lambda: _answers(port)):
        yield


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/v2/", timeout=2).status_code == 200
    except requests.RequestException:
        return False


@contextmanager
def _dockerd(folder: Path, made: Engine) -> Iterator[None]:
    argv = [
        "dockerd", "--host", made.host, "--data-root", f"{folder}/data",
        "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/dockerd.pid",
        "--bridge=none", "--iptables=false", "--ip6tables=false",
        "--insecure-registry", "127.0.0.0/8",
    ]  # fmt: skip
    try:
        with _running(argv, made.log, lambda: _pings(made)):
            yield
    finally:
        _unmount(folder)


def _unmount(folder: Path) -> None:
    """dockerd leaves mounts behind (a network namespace), and nobody could remove the folder."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)


def _pings(made: Engine) -> bool:
    with socket.socket(socket.AF_UNIX) as door:  # docker-py leaves one open when nobody listens
        if door.connect_ex(made.host.removeprefix("unix://")):
            return False
    try:
        with closing(made.client()) as client:
            return bool(client.ping())
    except (DockerException, requests.RequestException):
        return False


# --- the base image: this Python, the packages of the sample, a shell, and the libraries of all


def base_image() -> bytes:
    """A tarball of a root file system."""
    paths = {path: path for path in _python()}
    home = Path(sys.base_prefix) / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    paths |= {home / "site-packages" / name: path for name, path in _packages()}
    shell = Path(shutil.which("sh") or "/bin/sh").resolve()
    paths[Path("/bin/sh")] = shell
    paths |= {path: path for path in _libraries([*paths.values(), shell])}
    return _rootfs(paths)


def _python() -> Iterator[Path]:
    base = Path(sys.base_prefix)
    home = base / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    yield Path(sys.executable).resolve()
    yield from base.glob("lib/libpython*.so*")
    for folder, inner, names in os.walk(home):
        inner[:] = [name for name in inner if name not in NOT_NEEDED and "config-" not in name]
        yield from (Path(folder) / name for name in names if not name.endswith((".a", ".pyc")))


def _packages() -> Iterator[tuple[str, Path]]:
    for library in LIBRARIES:
        for file in distribution(library).files or ():
            path = Path(str(file.locate()))
            if ".." not in file.parts and path.suffix != ".pyc" and path.is_file():
                yield str(file), path


def _libraries(paths: list[Path]) -> Iterator[Path]:
    """What the dynamic linker loads for these, under the names it looks for."""
    linked = [str(path) for path in paths if ".so" in path.name or path.parent.name == "bin"]
    shown = subprocess.run(["ldd", *linked], capture_output=True, text=True, check=False).stdout
    for line in shown.splitlines():
        words = line.split()
        found = next((word for word in words if word.startswith("/") and ":" not in word), "")
        if found:
            yield Path(found)


def _rootfs(paths: dict[Path, Path]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        folders = {parent for path in paths for parent in path.parents} | {Path("/tmp/x").parent}
        for folder in sorted(folders):
            entry = tarfile.TarInfo(str(folder).lstrip("/") or ".")
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder.name == "tmp" else 0o755
            made.addfile(entry)
        for name, path in sorted(paths.items()):
            entry = tarfile.TarInfo(str(name).lstrip("/"))
            entry.size, entry.mode = path.stat().st_size, 0o755
            made.addfile(entry, io.BytesIO(path.read_bytes()))
        python = tarfile.TarInfo("usr/local/bin/python")
        python.type, python.linkname = tarfile.SYMTYPE, str(Path(sys.executable).resolve())
        made.addfile(python)
    return out.getvalue()
