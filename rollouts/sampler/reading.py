"""Reads the version out of an answer's body with the pattern that a person typed.

Called by ``loop`` for every answer. A pattern may be badly written: it sees 2 KB at most, and one
that computes for longer than ``MATCH_S`` is interrupted and not tried again until it is changed.
"""

from __future__ import annotations

import re
import signal
import threading
from types import FrameType

READ_BYTES = 2048
PATTERN_LENGTH = 200
MATCH_S = 0.05


class PatternTooSlow(Exception):
    pass


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise PatternTooSlow


class Reader:
    """``problem`` is empty, or a sentence on why this pattern cannot be used."""

    def __init__(self, pattern: str) -> None:
        self.problem = ""
        self._pattern: re.Pattern[str] | None = None
        if not pattern:
            return
        if len(pattern) > PATTERN_LENGTH:
            self.problem = f"The pattern is longer than {PATTERN_LENGTH} characters."
            return
        try:
            self._pattern = re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            self.problem = f"The pattern cannot be read: {error}."

    @property
    def wants_nothing(self) -> bool:
        return self._pattern is None and not self.problem

    def label(self, body: bytes) -> str | None:
        """The first group (or the whole match), or None."""
        if self._pattern is None:
            return None
        text = body[:READ_BYTES].decode("utf-8", "replace")
        try:
            found = _search(self._pattern, text)
        except PatternTooSlow:
            self._pattern = None
            self.problem = "The pattern takes too long to match."
            return None
        if found is None:
            return None
        return found.group(1) if found.re.groups else found.group()


def _search(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    # Only the main thread gets signals; the matcher looks for them while it backtracks. The
    # virtual timer counts our own CPU time, so a busy machine interrupts nothing.
    if threading.current_thread() is not threading.main_thread():
        return pattern.search(text)
    before = signal.signal(signal.SIGVTALRM, _interrupt)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, MATCH_S)
        return pattern.search(text)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
