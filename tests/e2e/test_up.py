"""``manage.py up`` as a command of its own: how it starts, refuses, ends, and is begun again."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.stack import Stack
from tests.e2e.test_rollouts import HALF_FOR_LONG, at_half

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]


def refused(stack: Stack, within_s: float = 30) -> str:
    """Run ``up`` and expect that it ends by itself with an error; returns what it said."""
    up = stack.launch()
    try:
        code = up.wait(within_s)
    finally:
        stack.destroy()
    assert code == 1
    assert not stack.left()
    return stack.output.read_text()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "stack")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stack.env["MESHUI_PORT"] = str(port)
        said = refused(stack)
    assert f"web needs port {port}, which is taken by" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("MESHUI_PORT", "eighty", "MESHUI_PORT"),
        ("MESHUI_PORT", "70000", "MESHUI_PORT"),
        ("BROKER_URL", "amqp://127.0.0.1", "BROKER_URL must start with redis:// or rediss://."),
    ],
)
def test_a_wrong_setting_is_one_clear_sentence(
    tmp_path: Path, name: str, value: str, sentence: str
) -> None:
    said = refused(Stack(tmp_path / "stack", **{name: value}))
    assert sentence in said
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) == 1


def test_a_second_up_says_that_one_is_running(stack: Stack) -> None:
    told = stack.manage("up")
    assert told.returncode == 1
    assert "already running" in told.stderr.lower()
    assert str(stack.up.pid if stack.up else "") in told.stderr


def test_the_terminal_says_where_to_go(stack: Stack) -> None:
    said = stack.output.read_text()
    assert f"Dashboard   http://127.0.0.1:{stack.ports['MESHUI_PORT']}" in said
    assert f"Endpoint    http://127.0.0.1:{stack.ports['MESHUI_PUBLIC_PORT']}" in said
    assert "Version 0.9" in said
    assert "skipping fork() handlers" not in said


def test_the_one_time_link_signs_in_once(stack: Stack) -> None:
    printed = re.search(r"Sign in +http://127\.0\.0\.1:\d+/enter/\S+", stack.output.read_text())
    assert printed, stack.output.read_text()
    # That one may be used up by now; this is how an administrator gets another.
    link = stack.manage("enter").stdout.strip().partition("/enter/")[2]
    web = stack.web_session()
    assert web.post(f"/enter/{link}").status == 302
    assert web.post(f"/enter/{link}").status == 404


def test_it_ends_with_ctrl_c_and_goes_on_where_it_was(fresh_stack: Stack) -> None:
    stack = fresh_stack
    who = stack.web_session()
    number = stack.deploy(who, "1.0", HALF_FOR_LONG)
    at_half(stack, number)
    took = stack.stop()
    print(f"Ctrl-C: gone after {took:.1f} s")
    assert stack.up is not None
    assert stack.up.returncode == 0
    weights = stack.weights()
    again = time.monotonic()
    stack.start()
    stack.until(stack.answers, 30, "the endpoint answers")
    print(f"second start: answers after {time.monotonic() - again:.1f} s")
    assert stack.weights() == weights == {"0.9": 50, "1.0": 50}
    assert stack.rollout(number)["phase"] == "progressing"
    assert stack.web_session().post(f"/rollouts/{number}/rollback/").status == 302
    stack.until_rollout(number, phase="rolled_back")


def test_a_killed_up_leaves_nothing_that_hinders_the_next(fresh_stack: Stack) -> None:
    stack = fresh_stack
    number = stack.deploy(stack.web_session(), "1.0", HALF_FOR_LONG)
    at_half(stack, number)
    stack.pids()
    assert stack.up is not None
    os.kill(stack.up.pid, signal.SIGKILL)
    stack.up.wait()
    stack.start()
    stack.until(stack.answers, 30, "the endpoint answers")
    assert stack.rollout(number)["phase"] == "progressing"
    assert stack.weights() == {"0.9": 50, "1.0": 50}
    stack.until(lambda: sum(t["healthy"] for t in stack.tasks("1.0")) == 2, 30, "1.0 is healthy")
    assert stack.web_session().post(f"/rollouts/{number}/rollback/").status == 302
    stack.until_rollout(number, phase="rolled_back")


def of_the_mesh(stack: Stack) -> list[str]:
    """The programs of the mesh that run now: Envoys and echo services."""
    return [line for line in stack.commands() if "envoy" in line or "echo_services" in line]


def test_a_destroyed_mesh_leaves_nothing_and_can_be_built_again(stack: Stack) -> None:
    who = stack.web_session()
    wrong = who.post("/infrastructure/local/local/delete/", typed_name="other")
    assert wrong.status == 422
    assert who.post("/infrastructure/local/local/delete/", typed_name="local").status == 302
    phases = "SELECT phase FROM rollouts_stack"
    stack.until(lambda: stack.rows(phases)[0]["phase"] == "absent", 60, "the mesh is gone")
    stack.until(lambda: not of_the_mesh(stack), 10, "no Envoy and no task is left")
    assert not stack.answers()
    began = time.monotonic()
    assert who.post("/infrastructure/local/local/create/").status == 302
    stack.until(lambda: stack.rows(phases)[0]["phase"] == "ready", 60, "the mesh is there")
    assert stack.answers()
    print(f"mesh built again in {time.monotonic() - began:.1f} s")
    number = stack.deploy(who, "1.0", HALF_FOR_LONG)
    at_half(stack, number)
    assert who.post(f"/rollouts/{number}/rollback/").status == 302


def test_an_up_that_is_asked_twice_to_end_kills_at_once(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "stack")
    up = stack.launch()
    try:
        stack.kill("worker", signal.SIGSTOP)
        began = time.monotonic()
        while up.poll() is None:
            assert time.monotonic() - began < 10, stack.logs()
            up.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                up.wait(0.2)
        assert not stack.left()
    finally:
        stack.destroy()
