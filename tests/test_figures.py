"""Errors that name no version still make the page say that requests fail."""

import pytest

from rollouts.live.figures import Figures, fails_unnamed


def seen(version, requests, errors):
    return {version: Figures(version, requests, errors, None, None, None, None)}


@pytest.mark.parametrize(
    ("unnamed", "fails"), [((4, 4), False), ((5, 5), True), ((40, 0), False), ((200, 5), False)]
)
def test_errors_without_a_version_count_from_five_and_five_percent_on(unnamed, fails):
    assert fails_unnamed(seen(1, 95, 0) | seen(None, *unnamed)) is fails


def test_without_requests_nothing_fails():
    assert not fails_unnamed({})
