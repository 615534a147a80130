"""What every module of the fake shares: one lock, one clock, and who wants to hear of them.

Called by the server before each AWS call. It knows nothing of any AWS service.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

# moto's backends are plain dicts: one call at a time, whatever the number of the server's threads.
LOCK = threading.RLock()

STOPPING = threading.Event()
"""Set when the server ends: whoever sleeps on purpose wakes up."""


@dataclass
class Speeds:
    """Seconds. Set from the environment when the server starts, or by a test."""

    task: float = 0.05
    stack: float = 0.0


speeds = Speeds()

_ticks: list[Callable[[float], None]] = []
_resets: list[Callable[[], None]] = []


def read_speeds(*, task: float, stack: float) -> None:
    """Take the speeds of the environment, or these."""
    speeds.task = float(os.environ.get("MESHUI_FAKE_TASK_SECONDS", task))
    speeds.stack = float(os.environ.get("MESHUI_FAKE_STACK_SECONDS", stack))


_skipped = 0.0


def now() -> float:
    """The clock of life cycles, in monotonic seconds."""
    return time.monotonic() + _skipped


def skip(seconds: float) -> None:
    """Let ``seconds`` have passed, without waiting for them."""
    global _skipped
    _skipped += seconds
    tick()


def on_tick(call: Callable[[float], None]) -> None:
    """Have ``call(now)`` called, under the lock, before each AWS call. ``now`` is monotonic."""
    if call not in _ticks:
        _ticks.append(call)


def on_reset(call: Callable[[], None]) -> None:
    """Have ``call()`` called, under the lock, when everything is forgotten."""
    if call not in _resets:
        _resets.append(call)


def tick() -> None:
    """Let time pass for everything that lives by time."""
    with LOCK:
        at = now()
        for call in _ticks:
            call(at)


def reset() -> None:
    """Forget everything, moto's part too."""
    from moto.core.base_backend import BackendDict
    from moto.core.model_instances import reset_model_data

    with LOCK:
        for call in _resets:
            call()
        BackendDict.reset()
        reset_model_data()
