"""One operating system process: how it is started, how it is ended, why it ended.

Called by `keeper.py`. It knows nothing of restarts, health or groups.

A child gets its own session, so that Ctrl-C in the terminal reaches only the supervisor, which
then stops everything in order. On Linux the kernel ends it when the supervisor dies, however it
dies. Elsewhere there is no such promise: a killed supervisor leaves its children, and the next
one ends them (`leftovers.py`). A grandchild that started a session of its own is out of reach.
"""

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from rollouts.supervisor.errors import CannotExecute

CANNOT_EXECUTE = 127  # what shells answer
PR_SET_PDEATHSIG = 1
# Loaded here, because nothing may be loaded between fork and exec.
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Command:
    """``env`` is added to our own environment; ``cwd`` None is our own working directory."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str | None = None


@dataclass(frozen=True)
class Exit:
    """Why and when a child ended. ``code`` is negative for a signal; ``at`` is epoch seconds."""

    code: int
    at: float
    text: str
    log: tuple[str, ...] = ()


def end_with(parent: int) -> None:
    """Have the kernel send us SIGTERM when ``parent``, the process that started us, ends.

    Linux only; elsewhere it does nothing. Runs between fork and exec too, so it must not
    import, log or allocate.
    """
    if LIBC is None:
        return
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)


class Child:
    """A started process, the leader of its own session."""

    def __init__(self, started: asyncio.subprocess.Process) -> None:
        self._started = started
        self.pid = started.pid

    @classmethod
    async def start(cls, command: Command, output: BinaryIO) -> "Child":
        """Raises CannotExecute with the reason of the operating system."""
        before_exec: Callable[[], None] | None = partial(end_with, os.getpid()) if LIBC else None
        try:
            started = await asyncio.create_subprocess_exec(
                *command.argv,
                # Unbuffered, or the last words of a killed Python program are lost.
                env={"PYTHONUNBUFFERED": "1", **os.environ, **command.env},
                cwd=command.cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=before_exec,
            )
        except OSError as error:
            raise CannotExecute(
                f"cannot execute {error.filename or command.argv[0]}: {error.strerror}"
            ) from error
        return cls(started)

    async def wait(self) -> int:
        """The exit code, after the rest of its session has been killed as well.

        What a dead leader leaves behind may still hold its port.
        """
        code = await self._started.wait()
        self._send_all(signal.SIGKILL)
        return code

    async def stop(self, grace_s: float) -> None:
        """SIGTERM now, SIGKILL to the whole session after ``grace_s`` seconds."""
        self._send(signal.SIGTERM)
        self._send(signal.SIGCONT)  # a paused one could not act on it
        try:
            async with asyncio.timeout(grace_s):
                await self.wait()
        except TimeoutError:
            self.kill()
            await self.wait()

    def kill(self) -> None:
        self._send_all(signal.SIGKILL)

    def _send(self, signum: signal.Signals) -> None:
        # Not `send_signal` of asyncio: it may reap the child behind the back of its watcher, and
        # the exit code is lost.
        if self._started.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def _send_all(self, signum: signal.Signals) -> None:
        # PermissionError is what macOS says when only zombies are left.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signum)


def ended(code: int, log: list[str]) -> Exit:
    return Exit(code, time.time(), _reason(code), tuple(log))


def never_started(error: CannotExecute) -> Exit:
    return Exit(CANNOT_EXECUTE, time.time(), str(error))


def _reason(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = f" ({signal.Signals(-code).name})"
    except ValueError:  # a real-time signal
        name = ""
    return f"killed by signal {-code}{name}"
