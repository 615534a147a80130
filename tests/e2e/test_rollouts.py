"""Rollouts with everything alive: requests are never lost, and go where the page says."""

import json
import math
import threading
import time
from collections.abc import Callable

import pytest

from tests.e2e.load import Seen
from tests.e2e.session import Page, WebSession
from tests.e2e.stack import SERVICE, Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

HALF = "50:3s,100"
HALF_FOR_LONG = "50:120s,100"
# An Envoy swaps its routes at once; the answer that was on its way may still come.
ON_ITS_WAY_S = 0.05


def share(seen: Seen, version: str, since: float, until: float) -> tuple[float, float]:
    """The observed share of the version, and five standard deviations of a fair half."""
    counted = seen.versions(since, until)
    total = counted.total()
    assert total > 200, f"too few answers to judge: {counted}"
    return counted[version] / total, 5 * math.sqrt(0.25 / total)


def at_half(stack: Stack, number: int, within_s: float = 30.0) -> float:
    """Wait until the first step is confirmed; returns when (CLOCK_MONOTONIC)."""
    stack.until_rollout(number, within_s, phase="progressing", step=0, stage="hold")
    return time.monotonic()


def test_no_request_is_lost_on_the_way_up_and_back(stack: Stack, who: WebSession) -> None:
    with stack.load(rps=500) as load:
        number = stack.deploy(who, "1.0", HALF)
        stack.until_rollout(number, phase="succeeded")
        top = time.monotonic()
        back = f"/services/{SERVICE}/versions/{stack.version('0.9')['number']}/return/"
        asked = time.monotonic()
        assert who.post(back).status == 302
        stack.until(lambda: stack.weights() == {"0.9": 100} and stack.settled(), 20, "0.9 again")
        down = time.monotonic()
        stack.until(lambda: time.monotonic() > down + 0.5, 5, "some more answers")
    print("up and back:", load.seen.says())
    assert load.seen.failures == []
    assert load.seen.versions(top, asked)["0.9"] == 0
    assert load.seen.versions(since=down)["1.0"] == 0


def test_half_of_the_requests_go_to_the_new_version_at_50_percent(
    stack: Stack, who: WebSession
) -> None:
    with stack.load(rps=500) as load:
        asked = time.monotonic()
        number = stack.deploy(who, "1.0", HALF)
        began = at_half(stack, number)
        stack.until(lambda: stack.weights() == {"1.0": 100}, 20, "1.0 has 100 %")
        ended = time.monotonic() - 0.5  # the row is written before we read it
        stack.until_rollout(number, phase="succeeded")
    seen = load.seen
    (first,) = stack.rows(
        "SELECT at FROM rollouts_route WHERE rollout_id = ? ORDER BY generation LIMIT 1", number
    )
    observed, margin = share(seen, "1.0", began, ended)
    print(f"50 % observed as {observed:.1%} ± {margin:.1%};", seen.says(), first["at"])
    assert abs(observed - 0.5) < margin
    assert seen.failures == []
    assert seen.first("1.0") > asked


def test_the_new_version_gets_nothing_before_it_is_healthy(stack: Stack, who: WebSession) -> None:
    stack.add_version(who, "slow-start", SLOW_START_SECONDS="3")
    with stack.load(rps=200) as load:
        number = stack.deploy(who, "slow-start", HALF_FOR_LONG)
        stack.until_rollout(number, phase="starting")
        stack.until(lambda: stack.weights() != {"0.9": 100}, 30, "the weights move")
        started_at = max(task["started_at"] for task in stack.tasks("slow-start"))
        at_half(stack, number)
        who.post(f"/rollouts/{number}/rollback/")
    assert load.seen.failures == []
    epoch = time.time() - time.monotonic()
    assert load.seen.first("slow-start") + epoch > started_at + 3.0


def test_a_rollback_in_the_middle_loses_nothing_and_takes_at_once(
    stack: Stack, who: WebSession
) -> None:
    with stack.load(rps=500) as load:
        number = stack.deploy(who, "1.0", HALF_FOR_LONG)
        at_half(stack, number)
        stack.hear("1.0")
        page = who.post(f"/rollouts/{number}/rollback/", reason="looks bad")
        assert page.status == 302
        stack.until_rollout(number, phase="rolled_back")
        down = time.monotonic()
        again = stack.deploy(who, "1.0", HALF)
        stack.until_rollout(again, phase="succeeded")
    seen = load.seen
    late = seen.versions(since=page.at + ON_ITS_WAY_S, until=down)["1.0"]
    last = max(a.done for a in seen.answers if a.version == "1.0" and a.done < down)
    print(f"rolled back: last answer {(last - page.at) * 1000:.0f} ms after 2xx;", seen.says())
    assert seen.failures == []
    assert late == 0
    assert stack.rollout(number)["reason"] == "ada asked for it. looks bad"


def test_a_pause_freezes_the_plan_and_a_resume_goes_on(stack: Stack, who: WebSession) -> None:
    number = stack.deploy(who, "1.0", "50:2s,100")
    at_half(stack, number)
    assert who.post(f"/rollouts/{number}/pause/").status == 302
    left = stack.rollout(number)["left"]
    ticks = stack.service()["ticks"]
    stack.until(lambda: stack.service()["ticks"] > ticks + 6, 30, "some seconds pass")
    assert stack.weights() == {"0.9": 50, "1.0": 50}
    assert stack.rollout(number)["left"] == left
    assert who.post(f"/rollouts/{number}/resume/").status == 302
    stack.until_rollout(number, phase="succeeded")


def test_an_abort_keeps_the_new_tasks_without_requests(stack: Stack, who: WebSession) -> None:
    number = stack.deploy(who, "1.0", HALF_FOR_LONG)
    at_half(stack, number)
    assert who.post(f"/rollouts/{number}/abort/").status == 302
    stack.until_rollout(number, phase="rolled_back")
    assert stack.weights() == {"0.9": 100}
    assert [task["healthy"] for task in stack.tasks("1.0")] == [True, True]
    assert stack.version("1.0")["retire_left"] is None


def test_the_command_line_does_the_same_as_the_page(stack: Stack) -> None:
    told = stack.cli("deploy", SERVICE, "1.0", "--plan", HALF_FOR_LONG)
    assert told.returncode == 0, told.stderr
    (row,) = stack.rows("SELECT max(id) AS id FROM rollouts_rollout")
    at_half(stack, row["id"])
    again = stack.cli("deploy", SERVICE, "1.0")
    assert again.returncode == 1
    assert f"Rollout #{row['id']} to 1.0 is running." in again.stderr
    told = stack.cli("--reason", "as I said", "rollback", SERVICE)
    assert told.returncode == 0, told.stderr
    assert stack.weights() == {"0.9": 100}
    stack.until_rollout(row["id"], phase="rolled_back")


def at_the_same_time(*acts: Callable[[], Page]) -> list[int]:
    """Start all at one barrier; returns the statuses of the answers."""
    barrier = threading.Barrier(len(acts))
    statuses = [0] * len(acts)

    def run(index: int, act: Callable[[], Page]) -> None:
        barrier.wait()
        statuses[index] = act().status

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def test_two_rollbacks_at_once_have_one_effect(stack: Stack, who: WebSession) -> None:
    number = stack.deploy(who, "1.0", HALF_FOR_LONG)
    at_half(stack, number)
    people = [who.twin() for _ in range(4)]
    statuses = at_the_same_time(
        *(lambda p=p: p.post(f"/rollouts/{number}/rollback/") for p in people)
    )
    stack.until_rollout(number, phase="rolled_back")
    assert sorted(statuses) == [302, 409, 409, 409]
    routes = stack.rows("SELECT weights FROM rollouts_route WHERE rollout_id = ?", number)
    assert len(routes) == 2  # to half and back


def test_a_rollback_wins_over_a_promotion_at_the_same_time(stack: Stack, who: WebSession) -> None:
    number = stack.deploy(who, "1.0", HALF_FOR_LONG)
    at_half(stack, number)
    one, other, third = (who.twin() for _ in range(3))
    back, *_ = at_the_same_time(
        lambda: one.post(f"/rollouts/{number}/rollback/"),
        lambda: other.post(f"/rollouts/{number}/promote-full/"),
        lambda: third.post(f"/rollouts/{number}/promote/"),
    )
    stack.until(lambda: stack.rollout(number)["finished_at"], 20, "it has ended")
    # A promotion that was first may have finished before the rollback was asked for.
    if back == 302:
        assert stack.rollout(number)["phase"] == "rolled_back"
        assert stack.weights() == {"0.9": 100}
    else:
        assert back == 409
        assert stack.rollout(number)["phase"] == "succeeded"


def test_of_many_starts_at_once_one_begins(stack: Stack, who: WebSession) -> None:
    people = [who.twin() for _ in range(4)]
    form = {"version": str(stack.version("1.0")["number"]), "strategy": "custom"}
    statuses = at_the_same_time(
        *(
            lambda p=p: p.post(f"/services/{SERVICE}/deploy/", steps=HALF_FOR_LONG, **form)
            for p in people
        )
    )
    assert sorted(statuses) == [302, 409, 409, 409]
    live = stack.rows("SELECT id FROM rollouts_rollout WHERE finished_at IS NULL")
    assert len(live) == 1


def test_every_change_of_weights_is_in_the_log_once(stack: Stack, who: WebSession) -> None:
    number = stack.deploy(who, "1.0", HALF)
    stack.until_rollout(number, phase="succeeded")
    routes = stack.rows("SELECT generation, weights FROM rollouts_route WHERE service_id = 1")
    events = stack.rows(
        "SELECT generation, after FROM rollouts_event"
        " WHERE generation IS NOT NULL AND service_id = 1"
    )
    assert {r["generation"]: json.loads(r["weights"]) for r in routes} == {
        e["generation"]: json.loads(e["after"]) for e in events
    }
    assert len(routes) == len(events)
    # Empty only while the mesh is destroyed: another test may have done that.
    weights = [json.loads(r["weights"]) for r in routes]
    assert all(sum(each.values()) == 100 for each in weights if each)
