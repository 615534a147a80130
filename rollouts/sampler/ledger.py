"""What the sampler saw and has not stored yet: one-second tallies and a few samples. Pure.

Filled by ``loop`` and ``counters``, emptied into ``store``. When the database is away it keeps the
newest ``KEEP_SECONDS`` of tallies and counts what it forgets; it never grows without bound.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from rollouts.domain.traffic import Tally

KEEP_SECONDS = 60
KEEP_ROWS = 3000
OK_ROWS_PER_SECOND = 5
ERROR_ROWS_PER_SECOND = 50
MESSAGE_LENGTH = 300
TELL_AFTER_S = 2
LAST_ANSWER_S = 15  # No answer comes later: the longest time-out is 10 s.


class Key(NamedTuple):
    """One TrafficBucket: ``second`` is Unix time, ``version`` None when the answer named none."""

    service: int
    source: str
    second: int
    version: int | None


@dataclass(frozen=True, slots=True)
class Row:
    """One Sample. ``at`` is Unix time of the intended start, ``latency_ms`` counts from there."""

    service: int
    version: int | None
    at: float
    ok: bool
    status: str
    latency_ms: float
    message: str


@dataclass
class Batch:
    """What one write stores."""

    tallies: dict[Key, Tally] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.tallies or self.rows)


@dataclass
class _Second:
    """What was kept of one second. ``more``: errors that no row has told of yet."""

    told: float  # Unix time at which its start, or its last "… and N more", came
    good: int = 0
    bad: int = 0
    more: int = 0
    last: Row | None = None


@dataclass
class Ledger:
    batch: Batch = field(default_factory=Batch)
    forgotten: int = 0  # seconds of tallies dropped since the last `forget`
    _written: dict[tuple[int, int], _Second] = field(default_factory=dict)
    _last: int = 0

    def record(self, row: Row, source: str) -> None:
        """Count one request of the sampler, and keep its row if this second still has room."""
        key = Key(row.service, source, int(row.at), row.version)
        tally = Tally(requests=1, errors=0 if row.ok else 1)
        tally.latency.record(row.latency_ms)
        self.add(key, tally)
        at = int(row.at)
        if (second := self._written.get((row.service, at))) is None:
            second = self._written[row.service, at] = _Second(told=at)
        if row.ok:
            second.good += 1
            if second.good <= OK_ROWS_PER_SECOND:
                self.batch.rows.append(row)
            return
        second.bad += 1
        if second.bad < ERROR_ROWS_PER_SECOND:
            self.batch.rows.append(row)
        else:
            second.more, second.last = second.more + 1, row

    def note(self, row: Row) -> None:
        """Keep a row that tells of no request, and count nothing."""
        self.batch.rows.append(row)

    def add(self, key: Key, tally: Tally) -> None:
        self.batch.tallies.setdefault(key, Tally()).add(tally)
        if key.second != self._last:
            self._last = key.second
            self._trim()  # Here as well, because a database that hangs gives nothing back.

    def take(self, now: float) -> Batch:
        """Everything so far, with "… and N more" for each second that ended 1 s ago.

        Errors that come later than that (time-outs) make another such row, two seconds after.
        """
        for (service, at), second in list(self._written.items()):
            if second.last is not None and now >= second.told + TELL_AFTER_S:
                self.batch.rows.append(_remainder(second.last, second.more))
                second.told, second.more, second.last = now, 0, None
            if second.last is None and now > at + LAST_ANSWER_S:
                del self._written[service, at]
        taken, self.batch = self.batch, Batch()
        return taken

    def give_back(self, batch: Batch) -> None:
        """Keep what could not be stored, the newest first, within the bounds."""
        for key, tally in self.batch.tallies.items():
            batch.tallies.setdefault(key, Tally()).add(tally)
        batch.rows.extend(self.batch.rows)
        self.batch = batch
        self._trim()

    def _trim(self) -> None:
        tallies = self.batch.tallies
        newest = max((key.second for key in tallies), default=0)
        old = [key for key in tallies if key.second <= newest - KEEP_SECONDS]
        self.forgotten += len({key.second for key in old})
        for key in old:
            del tallies[key]
        del self.batch.rows[:-KEEP_ROWS]

    def forget(self) -> int:
        """Seconds dropped since the last call, for the log."""
        forgotten, self.forgotten = self.forgotten, 0
        return forgotten


def _remainder(last: Row, more: int) -> Row:
    message = last.message if more == 1 else f"… and {more} more errors in this second"
    return Row(last.service, last.version, last.at, False, last.status, last.latency_ms, message)


def printable(text: str) -> str:
    """The first characters that a row has room for, control characters replaced."""
    return "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:MESSAGE_LENGTH]
    )
