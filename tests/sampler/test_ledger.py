"""What is kept between two writes."""

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


def test_errors_beyond_fifty_a_second_become_one_honest_row():
    ledger = Ledger()
    for _ in range(80):
        ledger.record(row(100.5, ok=False), "sampler")
    first, last = ledger.take(101), ledger.take(116)
    assert len(first.rows) == 49
    assert [r.message for r in last.rows] == ["… and 31 more errors in this second"]
    assert first.tallies[Key(1, "sampler", 100, None)].errors == 80


def test_sixty_seconds_are_kept_while_the_database_is_away():
    ledger = Ledger()
    for second in range(100):
        ledger.add(Key(1, "sampler", second, None), Tally(requests=1))
        ledger.give_back(ledger.take(second))
    assert sorted(key.second for key in ledger.take(100).tallies) == list(range(40, 100))
    assert ledger.forget() == 40
    assert ledger.forget() == 0
