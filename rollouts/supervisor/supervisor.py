"""The supervisor itself: takes the lock, starts everything in order, waits, stops in reverse.

`manage.py up` calls `run` with the list of fixed processes. Everything is on one event loop in
the main thread: on Linux a child gets its SIGTERM when the *thread* that forked it ends.
"""

import asyncio
import fcntl
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rollouts.supervisor.errors import AlreadyRunning, Refused, StartFailed
from rollouts.supervisor.fixed import FixedProcess, Process
from rollouts.supervisor.groups import Groups
from rollouts.supervisor.logs import LogFile
from rollouts.supervisor.server import Server
from rollouts.supervisor.task import Surroundings

SOCKET = "supervisor.sock"
LOG_CHECK_S = 2.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(fixed: Sequence[Process], state_dir: Path, on_status: Callable[[str], None]) -> int:
    """Run until SIGINT, SIGTERM or SIGHUP; a second signal kills at once. Blocks.

    ``on_status`` gets one readable line for each change, and the reason of a failed start.
    Returns the exit code: 0, or 1 when a fixed process did not become ready.
    Raises AlreadyRunning when another supervisor has this ``state_dir``.
    """
    state_dir = state_dir.resolve()
    state_dir.mkdir(parents=True, exist_ok=True)
    with _locked(state_dir):
        return asyncio.run(_Supervisor(fixed, state_dir, on_status).main())


class _Supervisor:
    def __init__(
        self, fixed: Sequence[Process], state_dir: Path, on_status: Callable[[str], None]
    ) -> None:
        self._wanted = fixed
        self._on_status = on_status
        self._log = LogFile(state_dir / "log" / "supervisor.log")
        self._socket = state_dir / SOCKET
        self._around = Surroundings(state_dir, self._say)
        self._fixed: dict[str, FixedProcess] = {}
        self._groups = Groups(self._around)
        self._server = Server(self._groups, self._fixed, self._around)
        self._signals = 0

    async def main(self) -> int:
        stop = self._catch_signals()
        chores = asyncio.create_task(self._keep_logs_short())
        start = asyncio.create_task(self._start())
        asked = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({start, asked}, return_when=asyncio.FIRST_COMPLETED)
            code = self._outcome(start)
            if code == 0:
                await asked
            return code
        finally:
            for each in (start, chores, asked):
                each.cancel()
            await self._stop()

    async def _start(self) -> None:
        for name in self._around.pids.end_leftovers():
            self._around.say("supervisor", "ended", f"{name}, left by an earlier run")
        self._groups.restore()
        # Before the fixed processes: some of them ask for tasks as soon as they live.
        await self._server.open(self._socket)
        for process in self._wanted:
            self._fixed[process.name] = FixedProcess(process, self._around)
            await self._fixed[process.name].until_ready()

    def _outcome(self, start: asyncio.Task[None]) -> int:
        if not start.done():
            return 0
        try:
            start.result()
        except (StartFailed, Refused) as error:
            self._say(str(error))
            return 1
        return 0

    async def _stop(self) -> None:
        """Tasks last: what watches them must not see them go and draw conclusions."""
        self._server.close()
        for each in reversed(self._fixed.values()):
            await each.stop()
        await self._groups.stop()
        self._socket.unlink(missing_ok=True)

    def _catch_signals(self) -> asyncio.Event:
        stop = asyncio.Event()

        def caught() -> None:
            self._signals += 1
            stop.set()
            if self._signals > 1:
                self._kill()

        for signum in SIGNALS:
            # nohup has SIGHUP ignored, and means it.
            if signum is signal.SIGHUP and signal.getsignal(signum) is signal.SIG_IGN:
                continue
            asyncio.get_running_loop().add_signal_handler(signum, caught)
        return stop

    def _kill(self) -> None:
        self._around.say("supervisor", "killing", "everything, as you asked twice")
        self._groups.kill()
        for each in self._fixed.values():
            each.keeper.kill()

    async def _keep_logs_short(self) -> None:
        while True:
            await asyncio.sleep(LOG_CHECK_S)
            self._log.keep_short()
            self._groups.keep_logs_short()
            for each in self._fixed.values():
                each.keeper.job.log.keep_short()

    def _say(self, line: str) -> None:
        with suppress(OSError), self._log.open() as file:  # a full disk ends nothing
            file.write(f"{line}\n".encode())
        with suppress(OSError):  # the terminal has gone
            self._on_status(line)


@contextmanager
def _locked(state_dir: Path) -> Iterator[None]:
    """Hold the lock. The kernel gives it back however we end, so it is never stale."""
    with open(os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(str(state_dir), file.read().strip() or "unknown") from None
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
