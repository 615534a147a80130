"""What the rollout page says in each state."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser

from rollouts.models import Acknowledgement, Proxy, Rollout, Route, Service, Task, Version
from rollouts.web.board import Board, board
from tests.web.rollout_rows import NOW, person, record, rolling, traffic

pytestmark = pytest.mark.django_db
SECOND = int(NOW.timestamp())


def look(rollout: Rollout, user=None, now=NOW) -> Board:
    rollout = Rollout.objects.select_related(
        "service__mesh", "service__stable", "from_version", "to_version"
    ).get(pk=rollout.pk)
    return board(rollout, user or person(), now)


def verbs(seen: Board) -> list[str]:
    return [action.verb for action in seen.actions]


STATES = [
    ({"phase": "pending"}, "queued", "Queued", ["abort", "rollback"]),
    ({"phase": "starting"}, "progress", "Starting 1.0", ["pause", "abort", "rollback"]),
    (
        {},
        "progress",
        "Baking at 50 %",
        ["pause", "promote", "promote-full", "abort", "rollback"],
    ),
    (
        {"stage": "shift", "left": None},
        "progress",
        "Shifting to 50 %",
        ["pause", "promote-full", "abort", "rollback"],
    ),
    (
        {"stage": "approval"},
        "waiting",
        "Waiting for you",
        ["promote", "promote-full", "abort", "rollback"],
    ),
    (
        {"paused": True},
        "paused",
        "Paused at 50 %",
        ["resume", "promote", "promote-full", "abort", "rollback"],
    ),
    ({"rollback_requested_at": NOW}, "requested", "Rollback requested", []),
    ({"phase": "rolling_back"}, "rolling", "Rolling back to 0.9", []),
    ({"phase": "rolled_back", "finished_at": NOW}, "rolled_back", "Rolled back to 0.9", ["deploy"]),
    ({"phase": "failed", "finished_at": NOW}, "failed", "Failed", ["deploy"]),
]


@pytest.mark.parametrize(("columns", "kind", "label", "actions"), STATES)
def test_each_state_has_its_words_and_only_its_buttons(columns, kind, label, actions):
    seen = look(rolling(**columns))
    assert (seen.pill.kind, seen.pill.label) == (kind, label)
    assert verbs(seen) == actions


def test_the_undo_is_last_red_and_names_its_target():
    undo = look(rolling()).actions[-1]
    assert (undo.look, undo.label, undo.keys) == ("danger", "Roll back to 0.9", "r")


def test_a_viewer_sees_the_same_buttons_grey():
    seen = look(rolling(), person("viewer", may=""))
    assert seen.denied
    assert [a.verb for a in seen.actions if not a.allowed] == ["pause", "promote", "rollback"]


def test_nobody_may_do_nothing():
    assert not any(a.allowed for a in look(rolling(), AnonymousUser()).actions)


def test_a_request_that_no_worker_takes_in_five_seconds_says_so_and_can_be_repeated():
    rollout = rolling(rollback_requested_at=NOW)
    late = NOW + timedelta(seconds=6)
    seen = look(rollout, now=late)
    assert seen.verdict.lead == "Not taken yet:"
    assert [a.label for a in seen.actions] == ["Try again"]


def test_a_rollback_without_confirmation_is_never_called_done():
    rollout = rolling(phase="rolling_back")
    Route.objects.filter(generation=2).update(confirmed_at=None, at=NOW - timedelta(seconds=31))
    Acknowledgement.objects.filter(proxy__node="envoy-2").update(generation=1)
    seen = look(rollout)
    assert seen.pill.kind == "stuck"
    assert "envoy-2 has not confirmed" in seen.verdict.text
    assert seen.actions[-1].label == "Try again"


def test_no_requests_are_a_dash_and_never_zero_percent():
    seen = look(rolling())
    assert [line.figures.observed for line in seen.lines] == [None, None]
    assert [line.figures.success for line in seen.lines] == [None, None]
    assert seen.verdict.lead == "No requests are seen: the observed share is unknown."


def test_figures_are_observed_beside_what_is_desired():
    rollout = rolling()
    traffic(rollout.to_version, SECOND - 50, SECOND - 1, requests=4)
    traffic(rollout.from_version, SECOND - 50, SECOND - 1, requests=6)
    new, old = look(rollout).lines
    assert (new.desired, new.figures.observed) == (50, 40.0)
    assert (old.figures.success, old.figures.rate) == (100.0, 18.0 * 50 / 59)


def test_observed_never_averages_across_a_change_of_weights():
    rollout = rolling()
    traffic(rollout.from_version, SECOND - 60, SECOND - 6)
    traffic(rollout.to_version, SECOND - 5, SECOND - 1)
    Route.objects.filter(generation=2).update(confirmed_at=NOW - timedelta(seconds=5.5))
    new, _ = look(rollout).lines
    assert new.figures.observed == 100.0


def test_the_verdict_says_when_the_new_version_is_worse():
    rollout = rolling()
    traffic(rollout.to_version, SECOND - 50, SECOND - 1, requests=10, errors=1)
    traffic(rollout.from_version, SECOND - 50, SECOND - 1, requests=10)
    seen = look(rollout)
    assert seen.verdict.lead == "1.0 fails more often than 0.9."
    assert seen.verdict.bad


def test_the_countdown_ends_at_the_stored_moment_and_stands_still_when_paused():
    rollout = rolling()
    later = NOW + timedelta(seconds=60)
    row = look(rollout, now=later).rows[3]
    assert (row.name, row.left, row.until) == ("Bake for 10 min", 240.0, SECOND + 300)
    Rollout.objects.update(paused=True)
    row = look(rollout, person("second"), later).rows[3]
    assert (row.state, row.left, row.until) == ("paused", 300.0, None)


def test_the_verdict_names_the_next_step_and_its_time():
    verdict = look(rolling()).verdict
    assert (verdict.next_text, verdict.at) == ("Goes to 100 % on its own at", SECOND + 300)


def test_steps_carry_state_and_numbers():
    rows = look(rolling()).rows
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    assert [row.state for row in rows[:5]] == ["done", "done", "done", "current", "todo"]
    assert [row.name for row in rows[-2:]] == ["Keep 0.9 warm for 10 min", "Drain and destroy 0.9"]


def test_a_rollback_strikes_out_what_never_comes_and_appends_its_own_steps():
    rollout = rolling(phase="rolled_back", finished_at=NOW)
    rollout.records.filter(key="hold-0").update(ended_at=NOW, outcome="failed")
    record(rollout, "rollback", NOW - timedelta(seconds=3), NOW)
    Version.objects.filter(label="1.0").update(retire_left=30)
    rows = look(rollout).rows
    assert [row.state for row in rows] == [
        *("done", "done", "done", "failed"),
        *("skipped",) * 5,
        *("done", "current", "todo"),
    ]
    assert rows[-3].name == "Send 100 % to 0.9"
    assert rows[-2].left == 30


def test_complete_offers_the_way_back_only_while_it_is_the_newest():
    rollout = rolling(phase="succeeded", finished_at=NOW)
    Service.objects.update(stable=rollout.to_version)
    assert verbs(look(rollout)) == ["return"]
    Rollout.objects.create(
        service=rollout.service,
        to_version=rollout.to_version,
        plan=rollout.plan,
        created_at=NOW,
    )
    assert verbs(look(rollout, person("second"))) == []


def test_a_stopped_old_version_is_said_to_start_first():
    rollout = rolling(phase="succeeded", finished_at=NOW)
    Service.objects.update(stable=rollout.to_version)
    Version.objects.filter(label="0.9").update(count=0)
    Task.objects.filter(version__label="0.9").delete()
    assert "starts it again first" in look(rollout).verdict.text


def test_lagging_and_refusing_proxies_are_named():
    rollout = rolling()
    Route.objects.filter(generation=2).update(confirmed_at=None)
    Acknowledgement.objects.filter(proxy__node="envoy-1").update(generation=1)
    assert look(rollout).weights_note == "Not confirmed yet by envoy-1."
    Proxy.objects.filter(node="envoy-1").update(nack="weights 0/0")
    assert look(rollout, person("second")).weights_note == "Refused by envoy-1."


def test_the_board_costs_a_constant_number_of_queries(django_assert_max_num_queries):
    rollout, user = rolling(), person()
    user.has_perm("rollouts.operate_service")
    with django_assert_max_num_queries(14):
        board(rollout, user, NOW)


def test_a_first_deploy_shows_only_the_steps_that_it_takes():
    rollout = rolling(phase="succeeded", stage="shift")
    Rollout.objects.filter(pk=rollout.pk).update(from_version=None)
    record(rollout, "promote", NOW, NOW)
    seen = look(Rollout.objects.get(pk=rollout.pk))
    assert [row.key for row in seen.rows] == ["provision", "start", "promote"]


def test_steps_that_were_left_out_are_struck_out():
    seen = look(rolling(phase="promoting", stage="shift", promote_full=True))
    left_out = [row.key for row in seen.rows if row.state == "skipped"]
    assert "shift-1" in left_out
