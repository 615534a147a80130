"""The supervisor as a whole: order, signals, death, the next run."""

import json
import os
import signal
import socket
import sys
import time
from typing import Any

import pytest

from rollouts.supervisor.client import SupervisorRefused, SupervisorUnreachable
from tests.ports import free_port
from tests.supervisor.conftest import LISTEN, SLEEP, Running, a_port_set, a_set, alive, eventually

PYTHON = [sys.executable, "-S", "-c"]


def a_server(name: str, **fields) -> dict[str, Any]:
    port = free_port()
    return {"name": name, "argv": LISTEN, "env": {"PORT": str(port)}, "ready": port, **fields}


def reachable(running: Running) -> bool:
    try:
        running.client.processes()
    except SupervisorUnreachable:
        return False
    return True


def by_name(running: Running) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in running.client.processes()}


def test_fixed_processes_start_in_order_and_stop_in_reverse(supervisor: Running) -> None:
    path = str(supervisor.state_dir) + ".ready"
    on_path = (
        f"import socket\ns=socket.socket(1); s.bind({path!r}); s.listen()\nwhile 1: s.accept()"
    )
    store = a_server("store")
    supervisor.start(
        store,
        {"name": "migrate", "argv": [*PYTHON, "print('migrated')"], "ready": "exit"},
        {"name": "mesh", "argv": [*PYTHON, on_path], "ready": path},
        {"name": "web", "argv": SLEEP, "address": "http://127.0.0.1:8000"},
    )
    eventually(lambda: "web  " in supervisor.output())
    seen = by_name(supervisor)
    assert [seen[name]["state"] for name in seen] == ["running", "ended", "running", "running"]
    assert supervisor.client.log(process="migrate") == ["migrated"]
    with pytest.raises(SupervisorRefused, match="migrate runs once"):
        supervisor.client.restart("migrate")
    assert supervisor.end() == 0
    words = [line.split()[:2] for line in supervisor.output().splitlines()]
    assert words == [
        ["store", "ready"], ["migrate", "done"], ["mesh", "ready"], ["web", "ready"],
        ["web", "stopped"], ["mesh", "stopped"], ["store", "stopped"],
    ]  # fmt: skip
    assert f"127.0.0.1:{store['ready']}   0." in supervisor.output()
    assert "http://127.0.0.1:8000   0." in supervisor.output()


def test_a_fixed_process_that_is_killed_comes_back(supervisor: Running) -> None:
    supervisor.start(a_server("store"))
    eventually(lambda: by_name(supervisor)["store"]["state"] == "running")
    before = by_name(supervisor)["store"]["pid"]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: by_name(supervisor)["store"]["restarts"] == 1)
    eventually(lambda: by_name(supervisor)["store"]["state"] == "running")
    assert by_name(supervisor)["store"]["pid"] != before
    assert "killed by signal 9 (SIGKILL); starts again in 0.2 s" in supervisor.output()


def test_a_restart_on_request_is_no_exit(supervisor: Running) -> None:
    supervisor.start(a_server("store"))
    eventually(lambda: by_name(supervisor)["store"]["state"] == "running")
    before = by_name(supervisor)["store"]["pid"]
    supervisor.client.restart("store")
    eventually(lambda: by_name(supervisor)["store"]["pid"] not in (None, before))
    assert by_name(supervisor)["store"]["restarts"] == 0


def test_a_start_that_is_not_ready_in_time_stops_everything(supervisor: Running) -> None:
    slow = {"argv": [*PYTHON, "print('dreaming'); import time; time.sleep(99)"], "ready": 1}
    supervisor.start(a_server("store"), {"name": "web", "ready_within_s": 1.0, **slow})
    eventually(lambda: "web" in by_name(supervisor))
    pids = supervisor.pids()
    assert supervisor.process.wait(timeout=5) == 1
    assert "web was not ready within 1 s. Its last words, from" in supervisor.output()
    assert "\n  dreaming\n" in supervisor.output()
    assert not any(alive(pid) for pid in pids)


def test_a_start_that_dies_says_why(supervisor: Running) -> None:
    bad = {
        "name": "migrate",
        "argv": [*PYTHON, "raise SystemExit('no such table')"],
        "ready": "exit",
    }
    supervisor.launch(bad, a_server("web"))
    assert supervisor.process.wait(timeout=5) == 1
    assert "migrate exited with code 1. Its last words" in supervisor.output()
    assert "\n  no such table\n" in supervisor.output()
    assert "web" not in supervisor.output()


def test_a_server_that_keeps_dying_fails_the_start_before_its_deadline(supervisor: Running) -> None:
    supervisor.launch({"name": "web", "argv": ["/nowhere/web"], "ready": free_port()})
    assert supervisor.process.wait(timeout=5) == 1
    assert "web cannot execute /nowhere/web: No such file or directory." in supervisor.output()


def test_a_taken_port_is_named_with_its_holder(supervisor: Running) -> None:
    web = a_server("web")
    with socket.create_server(("127.0.0.1", web["ready"])):
        supervisor.launch(web)
        assert supervisor.process.wait(timeout=5) == 1
    sentence = f"web needs port {web['ready']}, which is taken by "
    assert sentence in supervisor.output()
    assert f"(pid {os.getpid()})." in supervisor.output()


def test_a_killed_supervisor_leaves_no_orphan(supervisor: Running) -> None:
    supervisor.start(a_server("store"))
    supervisor.client.apply("g", 1, [a_port_set(count=3)])
    supervisor.healthy(3)
    pids = supervisor.pids()
    assert len(pids) == 4
    supervisor.end(signal.SIGKILL)
    eventually(lambda: not any(alive(pid) for pid in pids), within_s=2)


def test_the_next_run_restores_the_tasks_on_their_ports(supervisor: Running) -> None:
    store = a_server("store")
    supervisor.start(store)
    supervisor.client.apply("g", 5, [a_port_set(count=2)])
    os.kill(supervisor.healthy(2)[0]["pid"], signal.SIGKILL)
    eventually(lambda: supervisor.tasks()[0]["exits"] == 1)
    before = supervisor.healthy(2)
    supervisor.end(signal.SIGKILL)
    supervisor.start(store)
    after = supervisor.healthy(2)
    assert [task["port"] for task in after] == [task["port"] for task in before]
    assert (after[0]["exits"], after[0]["last_exit"]["code"]) == (1, -9)
    assert supervisor.client.observe("g")["revision"] == 5
    eventually(lambda: by_name(supervisor)["store"]["state"] == "running")


def test_the_next_run_ends_what_would_not_die(supervisor: Running) -> None:
    deaf = "import signal; signal.signal(15, signal.SIG_IGN)\n" + LISTEN[-1]
    supervisor.start()
    supervisor.client.apply("g", 1, [a_port_set(argv=[*PYTHON, deaf])])
    before = supervisor.healthy(1)[0]
    supervisor.end(signal.SIGKILL)
    assert alive(before["pid"])
    supervisor.start()
    assert not alive(before["pid"])
    assert supervisor.healthy(1)[0]["port"] == before["port"]
    assert f"g/1/0 (pid {before['pid']}), left by an earlier run" in supervisor.output()


def test_a_task_whose_port_was_taken_meanwhile_moves_and_says_so(supervisor: Running) -> None:
    supervisor.start()
    supervisor.client.apply("g", 1, [a_port_set()])
    port = supervisor.healthy(1)[0]["port"]
    supervisor.end()
    with socket.create_server(("127.0.0.1", port)):
        supervisor.start()
        assert supervisor.healthy(1)[0]["port"] != port
    assert f"from {port}, which is taken by " in supervisor.output()


def test_a_second_run_says_that_it_is_already_running(supervisor: Running) -> None:
    supervisor.start()
    first = supervisor.process
    supervisor.launch()
    assert supervisor.process.wait(timeout=5) == 1
    supervisor.process = first
    assert f"meshui is already running (pid {first.pid})" in supervisor.output()
    supervisor.client.apply("g", 1, [])


def test_a_hangup_ends_everything_too_even_while_starting(supervisor: Running) -> None:
    supervisor.start({"name": "slow", "argv": SLEEP, "ready": free_port()})
    pid = eventually(supervisor.pids)[0]
    assert supervisor.end(signal.SIGHUP) == 0
    assert not alive(pid)


def test_ctrl_c_ends_everything_soon(supervisor: Running) -> None:
    supervisor.start(a_server("store"), a_server("web"))
    supervisor.client.apply("g", 1, [a_port_set(count=4)])
    supervisor.healthy(4)
    eventually(lambda: len(supervisor.pids()) == 6)
    pids = supervisor.pids()
    asked = time.monotonic()
    assert supervisor.end(signal.SIGINT) == 0
    assert time.monotonic() - asked < 3
    assert not any(alive(pid) for pid in pids)
    assert not (supervisor.state_dir / "supervisor.sock").exists()


def test_a_second_ctrl_c_kills_at_once(supervisor: Running) -> None:
    deaf = "import signal,time; signal.signal(15, signal.SIG_IGN); print('on'); time.sleep(99)"
    supervisor.start({"name": "deaf", "argv": [*PYTHON, deaf], "grace_s": 60})
    eventually(lambda: supervisor.client.log(process="deaf") == ["on"])
    pid = supervisor.pids()[0]
    supervisor.process.send_signal(signal.SIGINT)
    eventually(lambda: not reachable(supervisor))
    asked = time.monotonic()
    assert supervisor.end(signal.SIGINT) == 0
    assert time.monotonic() - asked < 1
    assert not alive(pid)


def test_an_unreadable_state_file_is_told_and_kept(supervisor: Running) -> None:
    supervisor.state_dir.mkdir()
    file = supervisor.state_dir / "tasks.json"
    file.write_text('{"format": 1, "gr')
    supervisor.launch()
    assert supervisor.process.wait(timeout=5) == 1
    assert f"{file.resolve()} cannot be understood" in supervisor.output()
    assert file.read_text() == '{"format": 1, "gr'


def test_the_state_file_holds_what_is_wanted(up: Running) -> None:
    up.client.apply("g", 3, [a_set("9", count=2)])
    stored = json.loads((up.state_dir / "tasks.json").read_text())
    assert stored["groups"][0]["sets"][0]["count"] == 2
    assert set(stored["records"]) == {"g/9/0", "g/9/1"}
