"""What is kept between two writes."""

import math

from rollouts.domain.traffic import Tally
from rollouts.sampler.ledger import Key, Ledger, Row


def row(at: float, *, ok: bool) -> Row:
    return Row(1, None, at, ok, "200" if ok else "503", 2.0, "boom")


def test_five_good_rows_a_second_are_kept_and_every_request_is_counted():
    ledger = Ledger()
    for _ in range(30):
        ledger.record(row(100.5, ok=True), "sampler")
    batch = ledger.take(101)
    assert len(batch.rows) == 5
    assert batch.tallies[Key(1, "sampler", 100, None)].requests == 30


def test_errors_beyond_fifty_a_second_become_one_honest_row_two_seconds_later():
    ledger = Ledger()
    for _ in range(80):
        ledger.record(row(100.5, ok=False), "sampler")
    first, none, last = ledger.take(101), ledger.take(101.9), ledger.take(102)
    assert len(first.rows) == 49
    assert none.rows == []
    assert [r.message for r in last.rows] == ["… and 31 more errors in this second"]
    assert first.tallies[Key(1, "sampler", 100, None)].errors == 80


def test_errors_that_come_after_that_row_make_another():
    ledger = Ledger()
    for _ in range(60):
        ledger.record(row(100.5, ok=False), "sampler")
    told = len(ledger.take(102).rows)
    for _ in range(5):
        ledger.record(row(100.6, ok=False), "sampler")
    assert (told, ledger.take(103).rows) == (50, [])
    assert [r.message for r in ledger.take(104).rows] == ["… and 5 more errors in this second"]
    ledger.take(120)
    assert ledger._written == {}


def test_the_last_take_tells_everything():
    ledger = Ledger()
    for _ in range(80):
        ledger.record(row(100.5, ok=False), "sampler")
    assert "31 more" in ledger.take(math.inf).rows[-1].message


def test_a_row_that_tells_of_no_request_counts_nothing():
    ledger = Ledger()
    ledger.note(row(100.5, ok=True))
    batch = ledger.take(101)
    assert (len(batch.rows), batch.tallies) == (1, {})


def test_it_stays_small_while_the_database_hangs_and_takes_nothing():
    ledger = Ledger()
    for second in range(200):
        for _ in range(100):
            ledger.record(row(second + 0.5, ok=False), "sampler")
    assert len(ledger.batch.tallies) == 60
    assert len(ledger.batch.rows) <= 3000 + 50


def test_sixty_seconds_are_kept_while_the_database_is_away():
    ledger = Ledger()
    for second in range(100):
        ledger.add(Key(1, "sampler", second, None), Tally(requests=1))
        ledger.give_back(ledger.take(second))
    assert sorted(key.second for key in ledger.take(100).tallies) == list(range(40, 100))
    assert ledger.forget() == 40
    assert ledger.forget() == 0
