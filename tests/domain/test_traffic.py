"""Histograms and tallies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollouts.domain.traffic import Histogram, Tally, margin, share

latencies = st.lists(st.floats(0.02, 60_000), min_size=1, max_size=50)


def histogram(values) -> Histogram:
    found = Histogram()
    for value in values:
        found.record(value)
    return found


@given(latencies)
def test_a_percentile_is_within_two_percent(values):
    assert histogram(values).percentile(1.0) == pytest.approx(max(values), rel=0.021)


@given(latencies, latencies)
def test_merging_is_recording_everything(some, others):
    merged = histogram(some)
    merged.merge(histogram(others))
    assert merged == histogram(some + others)


@given(latencies)
def test_json_keeps_everything(values):
    assert Histogram.from_json(histogram(values).to_json()) == histogram(values)


def test_silence_is_no_success():
    assert Tally().success is None
    assert Tally().p(0.5) is None
    assert Tally(4, 1).success == 75.0
    assert share(0, [0]) is None
    assert share(1, [3]) == 25.0
    assert margin(50, 100) == pytest.approx(9.8)
    assert margin(50, 0) == 100.0
