"""Tasks as real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos import echo_pb2, echo_pb2_grpc
from tests.fakeaws.engine import Engine, Look
from tests.ports import free_port

Json = dict[str, Any]
# Not those of other runs on this machine.
ADDRESSES = (f"127.77.{os.getpid() % 250 + 1}.{number}" for number in count(1))


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    yield made
    made.close()


def eventually(holds: Callable[[], object], within_s: float = 15.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)


def said_something(engine: Engine, task: str) -> bool:
    return engine.look(task).log_tail != ""


def becomes(engine: Engine, task: str, state: str) -> Look:
    eventually(lambda: engine.look(task).state == state)
    return engine.look(task)


def shell(script: str, name: str = "app", **more) -> Json:
    """A container that is a shell script; its image stands for nothing."""
    image = "registry/shell@sha256:0"
    return {"name": name, "image": image, "entryPoint": ["sh", "-c"], "command": [script], **more}


def checked(command: str, **more) -> Json:
    return {"command": ["CMD-SHELL", command], "interval": 1, "retries": 1, **more}


def server(port: int, **env: str) -> Json:
    given = {"PORT": str(port), "VERSION": "1.0", **env}
    return {
        "name": "app",
        "image": "1.dkr.ecr.eu-west-1.amazonaws.com/echo/echo_server@sha256:0",
        "environment": [{"name": name, "value": value} for name, value in given.items()],
    }


def task(*containers: Json) -> Json:
    return {"family": "echo", "containerDefinitions": list(containers)}


def greeting(address: str) -> str:
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options=options) as channel:
        stub = echo_pb2_grpc.EchoServiceStub(channel)
        answer = stub.Echo(echo_pb2.EchoRequest(name="Yizumi"), timeout=10, wait_for_ready=True)
        return str(answer.message)


def test_tasks_with_one_port_have_an_address_each(engine):
    port = free_port()
    places = [next(ADDRESSES), next(ADDRESSES)]
    for ip, version in zip(places, ("0.9", "1.0"), strict=True):
        engine.start(ip, ip, task(server(port, HOST="0.0.0.0", VERSION=version)))
    said = [greeting(f"{ip}:{port}") for ip in places]
    assert [f"Said {places[0]}, Version 0.9" in said[0], "Version 1.0" in said[1]] == [True, True]


def test_a_task_is_healthy_when_its_health_check_says_so(engine, tmp_path):
    flag = tmp_path / "well"
    container = shell("exec sleep 60", healthCheck=checked(f"test -e {flag}"))
    engine.start("t", next(ADDRESSES), task(container))
    becomes(engine, "t", "running")
    flag.touch()
    becomes(engine, "t", "healthy")
    flag.unlink()
    becomes(engine, "t", "running")


def test_a_health_check_that_hangs_is_not_well(engine, tmp_path):
    asked = tmp_path / "asked"
    check = checked(f"echo >> {asked}; sleep 60", timeout=0.1)
    engine.start("t", next(ADDRESSES), task(shell("exec sleep 60", healthCheck=check)))
    # The second one begins when the first has timed out.
    eventually(lambda: asked.exists() and len(asked.read_text()) == 2)
    assert engine.look("t").state == "running"


def test_one_that_depends_on_another_waits_until_that_is_healthy(engine, tmp_path):
    flag, started = tmp_path / "well", tmp_path / "started"
    first = shell("exec sleep 60", "first", healthCheck=checked(f"test -e {flag}"))
    waits = [{"containerName": "first", "condition": "HEALTHY"}]
    second = shell(f"touch {started}; exec sleep 60", dependsOn=waits)
    engine.start("t", next(ADDRESSES), task(second, first))
    eventually(lambda: engine.look("t").state == "starting")
    assert not started.exists()
    flag.touch()
    becomes(engine, "t", "healthy")
    eventually(started.exists)


def test_the_end_of_an_essential_container_is_the_end_of_the_task(engine, tmp_path):
    pid = tmp_path / "pid"
    other = shell(f"echo $$ > {pid}; exec sleep 60", "other")
    engine.start("t", next(ADDRESSES), task(other, shell("sleep 0.3; echo bye; exit 3")))
    look = becomes(engine, "t", "exited")
    assert (look.container, look.exit_code, look.log_tail) == ("app", 3, "bye\n")
    assert not alive(int(pid.read_text()))


def test_the_end_of_another_container_is_none(engine):
    other = shell("exit 1", "other", essential=False)
    engine.start("t", next(ADDRESSES), task(other, shell("exec sleep 60")))
    eventually(lambda: engine._tasks["t"].containers[0].exit_code == 1)
    assert becomes(engine, "t", "running").exit_code == 1


def test_an_image_that_nothing_stands_for_ends_at_once(engine):
    engine.start("t", next(ADDRESSES), task({"name": "app", "image": "nginx"}))
    look = becomes(engine, "t", "exited")
    assert (look.exit_code, look.log_tail) == (
        127,
        "No program here stands for the image nginx.\n",
    )


def test_a_definition_that_waits_for_nobody_is_refused(engine):
    waits = [{"containerName": "nobody", "condition": "HEALTHY"}]
    with pytest.raises(ValueError, match="app depends on nobody"):
        engine.start("t", next(ADDRESSES), task(shell("exit 0", dependsOn=waits)))


def test_a_value_that_no_process_can_have_ends_the_task_only(engine):
    odd = shell("exit 0", environment=[{"name": "A", "value": "a\0b"}])
    engine.start("odd", next(ADDRESSES), task(odd))
    assert "null byte" in becomes(engine, "odd", "exited").log_tail
    engine.start("t", next(ADDRESSES), task(shell("exit 0")))
    assert becomes(engine, "t", "exited").exit_code == 0


def test_it_stops_with_sigterm_and_then_with_sigkill(engine):
    polite = shell("trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    deaf = shell("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    for name, container in {"polite": polite, "deaf": deaf}.items():
        engine.start(name, next(ADDRESSES), task(container))
        eventually(partial(said_something, engine, name))
    engine.stop("polite", 10)
    engine.stop("deaf", 0.2)
    assert [engine.look(name).exit_code for name in ("polite", "deaf")] == [0, 137]


def test_who_depends_on_another_is_stopped_first(engine, tmp_path):
    order = tmp_path / "order"
    script = "trap 'echo {} >> {}; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    first = shell(script.format("first", order), "first")
    waits = [{"containerName": "first", "condition": "START"}]
    second = shell(script.format("second", order), "second", dependsOn=waits)
    engine.start("t", next(ADDRESSES), task(first, second))
    becomes(engine, "t", "running")
    eventually(lambda: all(c.tail() for c in engine._tasks["t"].containers))
    engine.stop("t", 10)
    assert order.read_text().split() == ["second", "first"]


def test_its_own_address_takes_the_place_of_loopback(engine):
    ip = next(ADDRESSES)
    container = shell('echo "$A $B $HOSTNAME" 127.0.0.1 localhost; exit 0')
    container["environment"] = [
        {"name": "A", "value": "127.0.0.1:15001"},
        {"name": "B", "value": "10.0.0.0/8,0.0.0.0:80,localhost:1"},
    ]
    engine.start("t", ip, task(container))
    look = becomes(engine, "t", "exited")
    host = f"ip-{ip.replace('.', '-')}"
    assert look.log_tail == f"{ip}:15001 10.0.0.0/8,{ip}:80,localhost:1 {host} {ip} {ip}\n"


def test_closing_ends_everything(tmp_path):
    engine, pid = Engine(), tmp_path / "pid"
    engine.start("t", next(ADDRESSES), task(shell(f"echo $$ > {pid}; exec sleep 60")))
    eventually(lambda: pid.exists() and pid.read_text())
    engine.close()
    assert not alive(int(pid.read_text()))


def test_children_die_with_the_engines_process(tmp_path):
    pid = tmp_path / "pid"
    text = (
        "import sys, time; from tests.fakeaws.engine import Engine; "
        "script = f'echo $$ > {sys.argv[1]}; exec sleep 60'; "
        "container = {'name': 'app', 'image': 'x', 'entryPoint': ['sh', '-c', script]}; "
        "Engine().start('t', '127.0.0.1', {'containerDefinitions': [container]}); time.sleep(60)"
    )
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", text, str(pid)], cwd=root)
    try:
        eventually(lambda: pid.exists() and pid.read_text())
    finally:
        process.kill()
        process.wait()
    eventually(lambda: not alive(int(pid.read_text())))


def alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False
