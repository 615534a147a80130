"""What the benchmarks calculate with."""

import pytest

from tests.benchmarks.numbers import chi_square_p, holm, quantile, ratios


def test_the_99th_percentile_of_few_values_is_the_worst():
    assert quantile([3.0, 1.0, 2.0], 0.99) == 3.0


def test_the_median_of_an_odd_number_of_values_is_the_middle_one():
    assert quantile([5.0, 1.0, 2.0], 0.5) == 2.0


def test_a_ratio_compares_rounds_and_not_the_whole_run():
    assert ratios([[2.0, 2.0], [40.0]], [[1.0], [10.0]]) == [2.0, 4.0]


def test_an_exact_split_is_as_likely_as_can_be():
    assert chi_square_p(50, 100, 0.5) == 1.0


def test_two_standard_deviations_are_met_by_chance_once_in_22_times():
    assert chi_square_p(60, 100, 0.5) == pytest.approx(0.0455, abs=1e-4)


def test_holm_weighs_the_smallest_chance_most_and_keeps_the_order():
    assert holm({1: 0.01, 5: 0.04, 10: 0.03}) == pytest.approx({1: 0.03, 10: 0.06, 5: 0.06})
