"""Task groups: level semantics, deaths, ports, and what clients see."""

import os
import signal
import socket
import sys
import time

import pytest

from rollouts.supervisor.client import SupervisorRefused, SupervisorUnreachable
from tests.supervisor.conftest import Running, a_port_set, a_set, alive, eventually

PYTHON = [sys.executable, "-S", "-c"]


def wait_for_exits(running: Running, exits: int) -> None:
    eventually(lambda: running.tasks()[0]["exits"] == exits)


def test_it_starts_what_is_applied(up: Running) -> None:
    up.client.apply("g", 1, [a_port_set("12", count=2)])
    first, second = up.healthy(2)
    assert first["id"] == "g/12/0"
    assert (first["set"], second["index"], first["state"]) == ("12", 1, "running")
    assert (first["host"], first["health"], first["exits"]) == ("127.0.0.1", "connected", 0)
    assert first["last_exit"] is None
    assert abs(first["started_at"] - time.time()) < 10
    assert first["port"] != second["port"]
    socket.create_connection(("127.0.0.1", second["port"])).close()


def test_applying_twice_is_harmless(up: Running) -> None:
    up.client.apply("g", 1, [a_set(count=2)])
    before = [task["pid"] for task in up.healthy(2)]
    up.client.apply("g", 1, [a_set(count=2)])
    assert [task["pid"] for task in up.healthy(2)] == before


def test_scaling_down_ends_the_highest_indices_only(up: Running) -> None:
    up.client.apply("g", 1, [a_set(count=3)])
    before = up.healthy(3)
    up.client.apply("g", 2, [a_set(count=1)])
    assert [task["pid"] for task in up.healthy(1)] == [before[0]["pid"]]
    assert not alive(before[1]["pid"])
    assert not alive(before[2]["pid"])


def test_a_set_that_is_not_named_is_stopped(up: Running) -> None:
    up.client.apply("g", 1, [a_set("old"), a_set("new")])
    kept = up.healthy(2)[0]
    up.client.apply("g", 2, [a_set("new")])
    assert [task["pid"] for task in up.healthy(1)] == [kept["pid"]]


def test_other_groups_are_left_alone(up: Running) -> None:
    up.client.apply("g", 1, [a_set()])
    up.client.apply("h", 1, [a_set(count=2)])
    up.healthy(1)
    up.healthy(2, "h")
    up.client.apply("g", 2, [])
    up.healthy(0)
    groups = up.client.groups()
    assert groups["g"] == {"revision": 2, "wanted": 0, "tasks": 0, "healthy": 0}
    assert groups["h"] == {"revision": 1, "wanted": 2, "tasks": 2, "healthy": 2}


def test_a_stale_revision_is_refused(up: Running) -> None:
    up.client.apply("g", 7, [a_set()])
    with pytest.raises(SupervisorRefused, match="Revision 6 of g is older than 7") as refused:
        up.client.apply("g", 6, [])
    assert refused.value.stale
    assert refused.value.permanent
    assert up.client.observe("g")["revision"] == 7


def test_a_changed_spec_restarts_the_task_on_the_same_port(up: Running) -> None:
    up.client.apply("g", 1, [a_port_set()])
    before = up.healthy(1)[0]
    up.client.apply("g", 2, [a_port_set(env={"NEW": "1"})])
    eventually(lambda: up.healthy(1)[0]["pid"] != before["pid"])
    after = up.healthy(1)[0]
    assert (after["port"], after["exits"]) == (before["port"], 0)


def test_applying_again_while_a_task_is_stopping_starts_it_again(up: Running) -> None:
    script = "import signal,time\nsignal.signal(15, lambda *_: (time.sleep(.5), 1/0))\nprint('on')"
    stubborn = a_set(argv=[*PYTHON, f"{script}\nwhile 1: time.sleep(9)"])
    up.client.apply("g", 1, [stubborn])
    before = up.healthy(1)[0]
    eventually(lambda: up.client.log(task="g/1/0") == ["on"])
    up.client.apply("g", 2, [])
    assert up.tasks()[0]["state"] == "stopping"
    up.client.apply("g", 3, [stubborn])
    eventually(lambda: up.tasks() and up.tasks()[0]["pid"] not in (None, before["pid"]))


def test_a_killed_task_comes_back_on_its_port_with_the_reason_told(up: Running) -> None:
    up.client.apply("g", 1, [a_port_set()])
    before = up.healthy(1)[0]
    os.kill(before["pid"], signal.SIGKILL)
    eventually(lambda: up.tasks()[0]["exits"] == 1)
    after = up.healthy(1)[0]
    assert after["port"] == before["port"]
    assert after["pid"] != before["pid"]
    assert after["last_exit"]["code"] == -9
    assert after["last_exit"]["text"] == "killed by signal 9 (SIGKILL)"
    assert after["last_exit"]["log"] == ["listening"]


def test_a_dead_task_is_unhealthy_at_once(up: Running) -> None:
    up.client.apply("g", 1, [a_port_set()])
    before = up.healthy(1)[0]
    counter = up.client.observe("g")["counter"]
    os.kill(before["pid"], signal.SIGKILL)
    seen = up.client.wait("g", counter)["tasks"][0]
    assert (seen["healthy"], seen["pid"]) == (False, None)


def test_the_last_lines_tell_why_a_task_exits(up: Running) -> None:
    up.client.apply(
        "g", 1, [a_set(argv=[*PYTHON, "print('one'); raise SystemExit('no database')"])]
    )
    eventually(lambda: up.tasks()[0]["exits"] >= 1)
    why = up.tasks()[0]["last_exit"]
    assert why["text"] == "exited with code 1"
    assert why["log"] == ["one", "no database"]


def test_restarts_back_off(up: Running) -> None:
    up.client.apply("g", 1, [a_set(argv=["false"])])
    ends = []
    for exits in (1, 2, 3):
        wait_for_exits(up, exits)
        ends.append(up.tasks()[0]["last_exit"]["at"])
        assert up.tasks()[0]["state"] == "backoff"
    assert 0.2 <= ends[1] - ends[0] < 0.4
    assert 0.4 <= ends[2] - ends[1] < 0.8


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"argv": ["/nowhere/x"]}, "cannot execute /nowhere/x: No such file or directory"),
        ({"argv": [__file__]}, f"cannot execute {__file__}: Permission denied"),
        ({"cwd": "/nowhere"}, "cannot execute /nowhere: No such file or directory"),
    ],
)
def test_a_command_that_cannot_be_executed_is_an_exit(up: Running, fields, reason) -> None:
    up.client.apply("g", 1, [a_set(**fields)])
    eventually(lambda: up.tasks()[0]["exits"] >= 1)
    task = up.tasks()[0]
    assert task["last_exit"]["text"] == task["health"] == reason
    assert (task["last_exit"]["code"], task["pid"], task["healthy"]) == (127, None, False)


def test_a_task_that_shall_not_restart_stays_ended(up: Running) -> None:
    up.client.apply("g", 1, [a_set(argv=["true"], restart=False)])
    eventually(lambda: up.tasks()[0]["state"] == "ended")
    assert up.tasks()[0]["last_exit"]["text"] == "exited with code 0"


def test_placeholders_are_filled_and_other_braces_stay(up: Running) -> None:
    argv = ["{python}", "-Sc", "import os, sys; print(sys.argv[1], os.environ['PORT'])"]
    up.client.apply("g", 1, [a_set(argv=[*argv, '{port} {index} {state} {"a": {}}'], port="auto")])
    eventually(lambda: up.tasks()[0]["exits"])
    port = up.tasks()[0]["port"]
    line = f'{port} 0 {up.state_dir} {{"a": {{}}}} {port}'
    assert up.client.log(task="g/1/0")[0] == line


def test_a_task_that_ignores_sigterm_is_killed_after_its_grace(up: Running) -> None:
    script = "import signal,time; signal.signal(15, signal.SIG_IGN); print('on'); time.sleep(1000)"
    up.client.apply("g", 1, [a_set(argv=[*PYTHON, script], grace_s=0.3)])
    pid = up.healthy(1)[0]["pid"]
    eventually(lambda: up.client.log(task="g/1/0") == ["on"])
    asked = time.monotonic()
    up.client.apply("g", 2, [])
    up.healthy(0)
    assert not alive(pid)
    assert 0.3 <= time.monotonic() - asked < 1.5


def test_children_of_a_task_end_with_it(up: Running) -> None:
    script = "sleep 1000 & echo $!; wait"
    up.client.apply("g", 1, [a_set(argv=["sh", "-c", script])])
    grandchild = int(eventually(lambda: up.tasks() and up.client.log(task="g/1/0"))[0])
    up.client.apply("g", 2, [])
    up.healthy(0)
    eventually(lambda: not alive(grandchild))


def test_wait_returns_at_once_for_an_old_counter_and_after_its_time_for_the_present(
    up: Running,
) -> None:
    up.client.apply("g", 1, [a_set()])
    up.healthy(1)
    counter = up.client.observe("g")["counter"]
    asked = time.monotonic()
    assert up.client.wait("g", counter - 1)["changed"]
    assert time.monotonic() - asked < 0.2
    assert not up.client.wait("g", counter, timeout_s=0.3)["changed"]
    assert 0.3 <= time.monotonic() - asked < 0.9


def test_a_group_that_nobody_applied_has_no_tasks(up: Running) -> None:
    assert up.client.observe("nobody")["tasks"] == []


def test_the_log_of_an_unknown_task_or_process_is_refused(up: Running) -> None:
    for task in ("g/1/7", "../../etc", "g"):
        with pytest.raises(SupervisorRefused, match="There is no log of a task"):
            up.client.log(task=task)
    with pytest.raises(SupervisorRefused, match="process must be one of none yet, not 'web'"):
        up.client.log(process="web")


def test_the_socket_and_the_state_file_are_for_their_owner_only(up: Running) -> None:
    up.client.apply("g", 1, [])
    for name in ("supervisor.sock", "tasks.json"):
        assert (up.state_dir / name).stat().st_mode & 0o777 == 0o600


def test_a_supervisor_that_is_not_there_is_unreachable(supervisor: Running) -> None:
    with pytest.raises(SupervisorUnreachable, match=r"does not answer at .*No such file"):
        supervisor.client.observe("g")
