"""The pure parts, and the small ones: requests, plans, pulses, ports, logs, the state file."""

import copy
import json
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollouts.supervisor import logs, ports
from rollouts.supervisor.child import Exit
from rollouts.supervisor.errors import Refused
from rollouts.supervisor.fields import Fields
from rollouts.supervisor.groups import Groups
from rollouts.supervisor.keeper import Record
from rollouts.supervisor.plan import Actual, plan
from rollouts.supervisor.probes import Finding
from rollouts.supervisor.server import Server
from rollouts.supervisor.spec import GroupSpec, SetSpec, TaskId, TaskSpec, read_group, written
from rollouts.supervisor.store import Stored, load, save
from rollouts.supervisor.task import Surroundings
from rollouts.supervisor.watch import Pulse

GOOD = {
    "op": "apply",
    "group": "g",
    "revision": 1,
    "sets": [
        {"set": "1", "count": 1, "argv": ["x"], "port": "auto", "health": {"kind": "grpc"}},
        {"set": "2", "count": 1, "argv": ["x"], "port": 7000},
    ],
}
WRONG = [
    ("op", "fly", "op must be one of apply, observe"),
    ("op", None, "op must be a string"),
    ("group", "a/b", "group must be 1 to 64 letters"),
    ("group", "..", "group must be 1 to 64 letters"),
    ("revision", "1", "revision must be a whole number"),
    ("revision", -1, "revision must be a whole number"),
    ("revision", True, "revision must be a whole number"),
    ("sets", {}, "sets must be a list of objects"),
    ("sets", [1], "sets[0] must be an object"),
    ("extra", 1, "extra is not a known field"),
    ("sets.0.set", 12, "sets[0].set must be a string"),
    ("sets.0.set", "2", "sets[1].set names 2 a second time"),
    ("sets.0.count", -1, "sets[0].count must be a whole number from 0 to 50"),
    ("sets.0.count", 51, "sets[0].count must be a whole number from 0 to 50"),
    ("sets.1.count", 2, "sets[1].count must be 0 or 1 when the port is a number"),
    ("sets.0.argv", [], "sets[0].argv must be a list of at least one string"),
    ("sets.0.argv", "ls", "sets[0].argv must be a list of at least one string"),
    ("sets.0.argv", ["ls", 1], "sets[0].argv[1] must be a string"),
    ("sets.0.argv", ["a\0b"], "sets[0].argv[0] must be a string"),
    ("sets.0.argv", [""], "sets[0].argv[0] must name a program"),
    ("sets.0.argv", ["x", "{prot}"], "sets[0].argv has an unknown placeholder {prot}"),
    ("sets.0.env", {"A": "{user}"}, "sets[0].env has an unknown placeholder {user}"),
    ("sets.0.env", {"A": 1}, "sets[0].env.A must be a string"),
    ("sets.0.env", {"A=": "1"}, "sets[0].env has a name that no environment can hold"),
    ("sets.0.cwd", 1, "sets[0].cwd must be a string"),
    ("sets.0.port", 0, "sets[0].port must be"),
    ("sets.0.port", "80", "sets[0].port must be"),
    ("sets.0.port", None, "sets[0].health.kind is grpc, but the port is null"),
    ("sets.0.port", 7000, "sets[1].port asks for 7000 a second time"),
    ("sets.0.health", {"kind": "ping"}, "sets[0].health.kind must be grpc, http, tcp or none"),
    ("sets.0.health", {"knd": "tcp"}, "sets[0].health.knd is not a known field"),
    ("sets.0.health", {"interval_s": 0}, "sets[0].health.interval_s must be a number"),
    ("sets.0.health", {"path": "ping"}, "sets[0].health.path must start with /"),
    ("sets.0.grace_s", -1, "sets[0].grace_s must be a number from 0 to 300"),
    ("sets.0.restart", "no", "sets[0].restart must be true or false"),
]


def changed(path: str, value: object) -> Any:
    request: Any = copy.deepcopy(GOOD)
    place = request
    *steps, last = path.split(".")
    for step in steps:
        place = place[int(step)] if step.isdigit() else place[step]
    place[last] = value
    return request


@pytest.fixture
def server(tmp_path) -> Server:
    around = Surroundings(tmp_path, lambda _line: None)
    return Server(Groups(around), {}, around)


@pytest.mark.parametrize(("path", "value", "sentence"), WRONG)
async def test_bad_input_is_refused_by_name_and_nothing_is_done(
    server, tmp_path, path, value, sentence
) -> None:
    answer = await server.answer(json.dumps(changed(path, value)).encode())
    assert answer["ok"] is False
    assert answer["permanent"] is True
    assert sentence in answer["error"]
    assert (await server.answer(b'{"op": "groups"}'))["groups"] == {}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("field", ["op", "group", "revision", "sets"])
async def test_a_missing_field_is_named(server, field) -> None:
    request = {name: value for name, value in GOOD.items() if name != field}
    answer = await server.answer(json.dumps(request).encode())
    assert answer["error"] == f"{field} is missing."


async def test_a_line_that_is_not_json_is_refused(server) -> None:
    assert "not JSON" in (await server.answer(b"hello\n"))["error"]
    assert (await server.answer(b"[]"))["error"] == "The request must be an object."


def test_a_group_is_read_back_as_it_was_written() -> None:
    group = read_group(Fields(GOOD))
    assert read_group(Fields(json.loads(json.dumps(written(group))))) == group


SPECS = st.sampled_from([TaskSpec(("a",)), TaskSpec(("b",))])
WANTED = st.dictionaries(st.sampled_from("123"), st.tuples(st.integers(0, 3), SPECS)).map(
    lambda sets: GroupSpec("g", 1, tuple(SetSpec(name, *each) for name, each in sets.items()))
)


@given(WANTED, WANTED, st.sets(st.integers(0, 2)))
def test_a_plan_followed_to_its_end_makes_exactly_what_is_wanted(before, wanted, stopping) -> None:
    actual = {
        task: Actual(spec, stopping=task.index in stopping) for task, spec in before.tasks().items()
    }
    for _ in range(2):
        todo = plan(wanted.tasks(), actual)
        assert not set(todo.start) & set(actual)
        for task in todo.start:
            actual[task] = Actual(wanted.tasks()[task])
        ending = set(todo.stop) | {task for task, now in actual.items() if now.stopping}
        actual = {task: now for task, now in actual.items() if task not in ending}
    assert {task: now.spec for task, now in actual.items()} == wanted.tasks()
    assert plan(wanted.tasks(), actual) == plan({}, {})


def test_a_stopping_task_is_waited_for_and_not_stopped_again() -> None:
    task = TaskId("g", "1", 0)
    spec = TaskSpec(("a",))
    assert plan({task: spec}, {task: Actual(spec, stopping=True)}) == plan({}, {})


def test_a_pulse_believes_the_first_success_and_the_second_failure() -> None:
    pulse = Pulse()
    good, bad = Finding(healthy=True, text="SERVING"), Finding(healthy=False, text="refused")
    assert pulse.add(bad)
    assert pulse.text == "refused"
    assert pulse.add(good)
    assert pulse.healthy
    assert not pulse.add(bad)
    assert pulse.healthy
    assert pulse.add(bad)
    assert not pulse.healthy


def test_a_port_is_not_given_again_soon() -> None:
    first = ports.next_port(ports.FIRST, set())
    second = ports.next_port(first, set())
    assert second > first


def test_the_last_port_is_followed_by_the_first_free_one() -> None:
    given_port = ports.next_port(ports.LAST, {ports.FIRST, None})
    assert ports.FIRST < given_port < ports.LAST


def test_a_port_that_is_listened_on_is_taken_and_its_holder_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert not ports.is_free(port)
        assert "(pid " in ports.holder(port)
    assert ports.is_free(port)
    assert ports.holder(port) == ""


def test_a_long_log_is_cut_and_its_end_is_kept_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 10)
    log = logs.LogFile(tmp_path / "a" / "b.log")
    with log.open() as file:
        file.write(b"one\ntwo\nthree\n")
        file.flush()
        log.keep_short()
        assert log.tail(5) == []
        file.write(b"four\n")
    assert log.tail(5, since=14) == ["four"]
    assert (tmp_path / "a" / "b.log.1").read_bytes() == b"two\nthree\n"[-10:]


def test_a_tail_is_the_last_lines_since_a_place(tmp_path) -> None:
    log = logs.LogFile(tmp_path / "x.log")
    assert log.tail(2) == []
    log.path.write_text("one\ntwo\nthree\n")
    assert log.tail(2) == ["two", "three"]
    assert log.tail(5, since=8) == ["three"]


def test_the_state_is_read_back_as_it_was_saved(tmp_path) -> None:
    records = {"g/1/0": Record(7000, 2, Exit(-9, 1.5, "killed", ("a", "b"))), "g/1/1": Record()}
    stored = Stored([read_group(Fields(GOOD))], records, 20_001)
    save(tmp_path / "tasks.json", stored)
    assert load(tmp_path / "tasks.json") == stored


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 2}', '{"format": 1}'])
def test_a_broken_state_file_is_refused(tmp_path, content) -> None:
    (tmp_path / "tasks.json").write_text(content)
    with pytest.raises(Refused, match=r"tasks\.json"):
        load(tmp_path / "tasks.json")


async def test_a_fixed_port_of_another_group_is_refused(server) -> None:
    first = {**GOOD, "sets": [{"set": "1", "count": 1, "argv": ["true"], "port": 7000}]}
    assert (await server.answer(json.dumps(first).encode()))["ok"]
    second = json.dumps({**first, "group": "h"}).encode()
    assert "sets[0].port: 7000 is of g/1/0" in (await server.answer(second))["error"]
    await server._groups.stop()
