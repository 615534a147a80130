"""The chart: points second by second, marks, SVG."""

from __future__ import annotations

import json
from datetime import timedelta
from xml.etree import ElementTree

import pytest

from rollouts.models import Rollout, Route
from rollouts.web.board import board
from rollouts.web.chart import chart, svg
from tests.web.rollout_rows import NOW, person, rolling, traffic

pytestmark = pytest.mark.django_db
SECOND = int(NOW.timestamp())


def drawn(rollout, span="15m", newest=True):
    rows = board(rollout, person(), NOW).rows
    return chart(rollout, rows, NOW.timestamp(), span=span, newest=newest)


def test_it_has_a_point_for_each_second_and_gaps_stay_gaps():
    rollout = rolling()
    traffic(rollout.to_version, SECOND - 30, SECOND - 20)
    found = drawn(rollout)
    assert [p.t for p in found.points] == list(range(SECOND - 900, SECOND))
    assert found.points[-30].observed == 100.0
    assert found.points[-1].observed is None
    assert found.points[-1].new_success is None


def test_desired_is_what_was_stored_at_that_second():
    found = drawn(rolling())
    by_time = {p.t: p.desired for p in found.points}
    assert (by_time[SECOND - 70], by_time[SECOND - 50]) == (0, 50)


def test_no_point_averages_across_a_change_of_weights():
    rollout = rolling()
    Route.objects.filter(generation=2).update(
        at=NOW - timedelta(seconds=20), confirmed_at=NOW - timedelta(seconds=19.5)
    )
    traffic(rollout.from_version, SECOND - 60, SECOND - 20)
    traffic(rollout.to_version, SECOND - 19, SECOND - 1)
    by_time = {p.t: p.observed for p in drawn(rollout).points}
    assert (by_time[SECOND - 21], by_time[SECOND - 18]) == (0.0, 100.0)


def test_marks_carry_the_numbers_of_the_steps():
    marks = drawn(rolling()).marks
    assert [mark.number for mark in marks] == [1, 2, 3, 4]


def test_a_rollout_of_last_week_is_drawn_at_its_own_time():
    rollout = rolling(phase="rolled_back", finished_at=NOW - timedelta(days=7))
    found = drawn(rollout)
    assert not found.live
    assert found.last == SECOND - 7 * 86400 + 60


def test_all_is_thinned_to_a_bounded_number_of_points():
    rollout = rolling()
    Rollout.objects.update(created_at=NOW - timedelta(hours=5))
    rollout.created_at = NOW - timedelta(hours=5)
    assert len(drawn(rollout, "all").points) <= 1800


def test_the_json_is_columns():
    body = drawn(rolling()).body(NOW.timestamp())
    assert set(body["columns"]) == {"t", "d", "o", "sN", "sO", "pN", "pO"}
    json.dumps(body, allow_nan=False)


def test_the_svg_alone_is_well_formed_and_escapes_labels():
    rollout = rolling()
    traffic(rollout.to_version, SECOND - 30, SECOND - 1)
    traffic(rollout.from_version, SECOND - 50, SECOND - 1)
    rollout.to_version.label = "<1.0>"
    root = ElementTree.fromstring(svg(drawn(rollout), alone=True, clock=lambda t: "12:00"))
    assert "<1.0>" in root.attrib["aria-label"]
    assert root.findall(".//{*}polygon")
