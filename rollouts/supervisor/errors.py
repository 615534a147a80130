"""What can go wrong inside the supervising process.

The errors that its clients see are in `client.py`.
"""

from rollouts.errors import MeshuiError


class SupervisorError(MeshuiError):
    """Base of the errors below; the text is a sentence for a person."""


class AlreadyRunning(SupervisorError):
    """Another supervisor holds the lock of this state directory."""

    def __init__(self, state_dir: str, pid: str) -> None:
        super().__init__(f"meshui is already running (pid {pid}) with the state in {state_dir}.")
        self.pid = pid


class StartFailed(SupervisorError):
    """A fixed process did not become ready, or could not be started at all."""


class CannotExecute(SupervisorError):
    """The operating system refused to execute a command."""


class Refused(SupervisorError):
    """A request over the socket was not accepted; nothing has been changed by it."""

    def __init__(self, text: str, *, permanent: bool = True, stale: bool = False) -> None:
        super().__init__(text, permanent=permanent)
        self.stale = stale
