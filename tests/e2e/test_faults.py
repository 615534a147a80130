"""Rollouts while things break: the promises of the fault matrix, on the real stack."""

import json
import os
import signal
import time

import pytest

from tests.e2e.session import WebSession
from tests.e2e.stack import SERVICE, Stack
from tests.e2e.test_rollouts import HALF_FOR_LONG, at_half

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

BACK_WITHIN_S = 2.0
LAST_ANSWER_S = 0.1
RPS = 300


def back_on_stable(stack: Stack, since: float) -> float:
    """Wait for stable at 100 %, stored; returns the seconds since ``since``."""
    stack.until(lambda: stack.weights() == {"0.9": 100}, 15, "0.9 has everything again")
    return time.monotonic() - since


# The new version


def test_killing_the_new_version_at_half_loses_no_request(stack: Stack, who: WebSession) -> None:
    with stack.load(RPS) as load:
        number = stack.deploy(who, "1.0", HALF_FOR_LONG)
        at_half(stack, number)
        stack.hear("1.0")
        killed = time.monotonic()
        stack.kill_tasks("1.0")
        took = back_on_stable(stack, killed)
        stack.until_rollout(number, phase="rolled_back")
    print(f"new version killed: stable after {took:.2f} s;", load.seen.says())
    assert load.seen.failures == []
    assert took <= BACK_WITHIN_S
    assert "killed by signal 9" in stack.rollout(number)["reason"]


def test_a_paused_new_version_is_rolled_back_and_loses_no_request(
    stack: Stack, who: WebSession
) -> None:
    with stack.load(RPS) as load:
        number = stack.deploy(who, "1.0", HALF_FOR_LONG)
        at_half(stack, number)
        stack.hear("1.0")
        paused = time.monotonic()
        stack.kill_tasks("1.0", signal.SIGSTOP)
        took = back_on_stable(stack, paused)
        stack.until_rollout(number, phase="rolled_back")
        stack.kill_tasks("1.0", signal.SIGCONT)
    print(f"new version paused: stable after {took:.2f} s;", load.seen.says())
    assert load.seen.failures == []
    assert "No task of 1.0 is healthy" in stack.rollout(number)["reason"]
    assert "no answer" in stack.rollout(number)["reason"]


def test_a_version_that_is_never_healthy_gets_nothing(stack: Stack, who: WebSession) -> None:
    stack.add_version(who, "never-well", NEVER_HEALTHY="1")
    stack.write("UPDATE rollouts_service SET start_deadline_s = 3 WHERE slug = ?", SERVICE)
    before = stack.service()["generation"]
    number = stack.deploy(who, "never-well", HALF_FOR_LONG)
    stack.until_rollout(number, phase="rolled_back")
    reason = stack.rollout(number)["reason"]
    assert "never-well was not healthy in time: 0 of 2 tasks are." in reason
    assert "NOT_SERVING" in reason
    routes = stack.rows("SELECT weights FROM rollouts_route WHERE generation > ?", before)
    pk = str(stack.version("never-well")["id"])
    assert not any(json.loads(row["weights"]).get(pk) for row in routes)


def test_a_crash_loop_is_rolled_back_with_its_last_words(stack: Stack, who: WebSession) -> None:
    # A version that no process can parse: the program says so and ends with code 2.
    stack.add_version(who, "crash-loop", PORT="not-a-port")
    number = stack.deploy(who, "crash-loop", HALF_FOR_LONG)
    stack.until_rollout(number, phase="rolled_back", within_s=40)
    reason = stack.rollout(number)["reason"]
    assert "crash-loop does not start: exited with code 2." in reason
    assert "Last line: PORT must be" in reason
    assert stack.weights() == {"0.9": 100}


def test_a_command_that_does_not_exist_is_rolled_back_with_its_name(
    stack: Stack, who: WebSession
) -> None:
    stack.add_version(who, "no-program", command="no-such-program --port {port}")
    number = stack.deploy(who, "no-program", HALF_FOR_LONG)
    stack.until_rollout(number, phase="rolled_back", within_s=40)
    assert "cannot execute no-such-program" in stack.rollout(number)["reason"]


# The stable version


def test_nothing_is_sent_to_a_dead_stable(stack: Stack, who: WebSession) -> None:
    with stack.load(RPS) as load:
        number = stack.deploy(who, "1.0", HALF_FOR_LONG)
        at_half(stack, number)
        # Paused, a task stays dead; killed, the supervisor has it back within a second.
        stack.kill_tasks("0.9", signal.SIGSTOP)
        stack.until(lambda: stack.weights() == {"1.0": 100}, 15, "1.0 has everything")
        moved = time.monotonic()
        alarm = stack.service()["alarm"]
        stack.until(lambda: time.monotonic() > moved + 0.5, 5, "some answers")
        until = time.monotonic()
        stack.kill_tasks("0.9", signal.SIGCONT)
        stack.until(lambda: stack.weights() == {"0.9": 50, "1.0": 50}, 20, "half and half again")
    print("stable paused:", load.seen.says(), "|", alarm)
    assert alarm == "0.9 has no healthy task: every request goes to 1.0."
    assert load.seen.versions(moved, until)["0.9"] == 0
    assert load.seen.failures == []
    assert who.post(f"/rollouts/{number}/rollback/").status == 302


# meshui itself


@pytest.mark.parametrize("how", ["paused", "killed"])
def test_a_rollback_needs_no_broker_worker_or_beat(stack: Stack, who: WebSession, how: str) -> None:
    dead = ("broker", "worker", "beat")
    with stack.load(RPS) as load:
        number = stack.deploy(who, "1.0", HALF_FOR_LONG)
        at_half(stack, number)
        stack.hear("1.0")
        pids = [stack.pid(name) for name in dead]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP if how == "paused" else signal.SIGKILL)
        began = time.monotonic()
        page = who.post(f"/rollouts/{number}/rollback/", reason="everything else is dead")
        assert page.status == 302
        assert stack.rollout(number)["phase"] == "rolled_back"
        down = time.monotonic()
        stack.until(lambda: time.monotonic() > down + 0.5, 5, "some answers")
        for pid in pids if how == "paused" else []:
            os.kill(pid, signal.SIGCONT)
    last = load.seen.last("1.0") - page.at
    print(f"{how}: 2xx after {page.at - began:.3f} s, last answer {last * 1000:.0f} ms after it;",
          load.seen.says())  # fmt: skip
    assert load.seen.last("1.0") > 0
    assert last <= LAST_ANSWER_S
    assert load.seen.failures == []
    assert stack.weights() == {"0.9": 100}


def test_a_dead_control_plane_stops_no_request_and_no_rollout(
    stack: Stack, who: WebSession
) -> None:
    with stack.load(RPS) as load:
        number = stack.deploy(who, "1.0", "50:2s,100")
        at_half(stack, number)
        stack.kill("controlplane")
        stack.until_rollout(number, phase="succeeded")
    print("control plane killed:", load.seen.says())
    assert load.seen.failures == []
    assert stack.weights() == {"1.0": 100}


PLACES = {
    "starting": {"phase": "starting"},
    "hold": {"phase": "progressing", "stage": "hold"},
    "promoting": {"phase": "promoting"},
}


@pytest.mark.parametrize("place", PLACES)
def test_a_killed_worker_is_replaced_and_the_rollout_goes_on(
    stack: Stack, who: WebSession, place: str
) -> None:
    if place == "starting" and stack.tasks("1.0"):
        number = stack.version("1.0")["number"]
        assert who.post(f"/services/{SERVICE}/versions/{number}/destroy/").status == 302
        stack.until(lambda: not stack.tasks("1.0"), 60, "1.0 is cold")
    with stack.load(RPS) as load:
        number = stack.deploy(who, "1.0", "50:2s,100")
        wanted = PLACES[place]

        def there() -> bool:
            row = stack.rollout(number)
            passed = place == "promoting" and row["phase"] == "succeeded"  # it is a short phase
            return passed or all(row[name] == value for name, value in wanted.items())

        stack.until(there, 30, f"it is {place}")
        stack.kill("worker")
        stack.until_rollout(number, phase="succeeded")
    print(f"worker killed while {place}:", load.seen.says())
    assert load.seen.failures == []
    records = stack.rows("SELECT key FROM rollouts_steprecord WHERE rollout_id = ?", number)
    assert len({r["key"] for r in records}) == len(records)


def test_a_killed_worker_does_not_hold_up_a_rollback(stack: Stack, who: WebSession) -> None:
    number = stack.deploy(who, "1.0", HALF_FOR_LONG)
    at_half(stack, number)
    assert who.post(f"/rollouts/{number}/rollback/").status == 302
    stack.kill("worker")
    stack.until_rollout(number, phase="rolled_back")
    assert stack.weights() == {"0.9": 100}


def test_a_killed_envoy_comes_back_with_the_right_weights(stack: Stack, who: WebSession) -> None:
    number = stack.deploy(who, "1.0", HALF_FOR_LONG)
    at_half(stack, number)
    old = stack.envoy()
    os.kill(old, signal.SIGKILL)
    stack.until(lambda: stack.envoy() not in (0, old), 20, "a new Envoy")
    assert who.post(f"/rollouts/{number}/rollback/").status == 302
    stack.until_rollout(number, phase="rolled_back")
    stack.until(stack.answers, 20, "the endpoint answers")
    with stack.load(RPS) as load:
        began = time.monotonic()
        stack.until(lambda: time.monotonic() > began + 1, 5, "some answers")
    print("after Envoy was killed:", load.seen.says())
    assert load.seen.failures == []
    assert set(load.seen.versions()) == {"0.9"}


def test_an_envoy_starts_with_the_last_known_weights_while_the_control_plane_hangs(
    stack: Stack, who: WebSession
) -> None:
    plane = stack.kill("controlplane", signal.SIGSTOP)
    old = stack.envoy()
    os.kill(old, signal.SIGKILL)
    stack.until(lambda: stack.envoy() not in (0, old), 20, "a new Envoy")
    took = stack.until(stack.answers, 10, "it answers without a control plane")
    os.kill(plane, signal.SIGCONT)
    print(f"Envoy alone: answers {took:.2f} s after its start")
    assert "Version 0.9)" in stack.answer()
    number = stack.deploy(who, "1.0", HALF_FOR_LONG)
    at_half(stack, number)
    stack.hear("1.0")
    assert who.post(f"/rollouts/{number}/rollback/").status == 302


def test_a_rollback_comes_through_a_dead_control_plane(stack: Stack, who: WebSession) -> None:
    with stack.load(RPS) as load:
        number = stack.deploy(who, "1.0", HALF_FOR_LONG)
        at_half(stack, number)
        stack.hear("1.0")
        stack.kill("controlplane")
        page = who.post(f"/rollouts/{number}/rollback/", reason="and the control plane is dead")
        assert page.status == 302
        stack.until_rollout(number, phase="rolled_back")
        down = time.monotonic()
        stack.until(lambda: time.monotonic() > down + 0.5, 5, "some answers")
    last = load.seen.last("1.0") - page.at
    print(f"control plane dead: last answer {last:.2f} s after the 2xx;", load.seen.says())
    assert load.seen.failures == []
    assert load.seen.last("1.0") < down + LAST_ANSWER_S
    assert stack.weights() == {"0.9": 100}


def test_a_frozen_web_process_leaves_the_command_line(stack: Stack, who: WebSession) -> None:
    number = stack.deploy(who, "1.0", HALF_FOR_LONG)
    at_half(stack, number)
    web = stack.kill("web", signal.SIGSTOP)
    told = stack.cli("--reason", "the page hangs", "rollback", SERVICE)
    os.kill(web, signal.SIGCONT)
    assert told.returncode == 0, told.stderr
    stack.until_rollout(number, phase="rolled_back")


def test_a_killed_sampler_does_not_matter_to_a_rollout(stack: Stack, who: WebSession) -> None:
    number = stack.deploy(who, "1.0", "50:2s,100")
    at_half(stack, number)
    stack.kill("sampler")
    stack.until_rollout(number, phase="succeeded")
