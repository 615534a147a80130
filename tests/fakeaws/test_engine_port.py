"""What the fake asks of an engine, shown with one that only keeps a list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakeaws import lifecycle
from tests.fakeaws.control import Fake
from tests.fakeaws.echo import Client, Echo, until


@dataclass
class Listed:
    """An engine whose tasks are in the state that a test says."""

    state: str = "starting"
    exit_code: int | None = None
    started: dict[str, Any] = field(default_factory=dict)
    stopped: list[tuple[str, float]] = field(default_factory=list)

    def start(self, task_id: str, ip: str, task_definition: dict[str, Any]) -> None:
        self.started[task_id] = (ip, task_definition)

    def look(self, task_id: str) -> Any:
        return SimpleNamespace(
            state=self.state, container="app", exit_code=self.exit_code, log_tail=""
        )

    def stop(self, task_id: str, grace_s: float) -> None:
        self.stopped.append((task_id, grace_s))

    def close(self) -> None:
        pass


@pytest.fixture
def engine() -> Iterator[Listed]:
    made = Listed()
    lifecycle.use_engine(made)
    yield made
    lifecycle.use_engine(None)


@pytest.fixture
def echo(client: Client, engine: Listed) -> Echo:
    return Echo(client).make()


def stages(echo: Echo) -> set[str]:
    return {task["lastStatus"] for task in echo.tasks()}


def test_processes_decide_when_a_task_runs_and_is_healthy(aws: Fake, echo: Echo, engine: Listed):
    made = echo.start()
    until(lambda: stages(echo) == {"ACTIVATING"})
    aws.settle()
    assert stages(echo) == {"ACTIVATING"}
    engine.state = "running"
    aws.settle()
    assert stages(echo) == {"RUNNING"}
    assert echo.task_set(made)["stabilityStatus"] == "STABILIZING"
    engine.state = "healthy"
    assert echo.steady(made)["runningCount"] == 2


def test_a_task_that_exits_is_replaced(aws: Fake, echo: Echo, engine: Listed):
    engine.state = "healthy"
    echo.start(scale={"unit": "PERCENT", "value": 50})
    aws.settle()
    engine.state, engine.exit_code = "exited", 1
    until(lambda: echo.tasks("STOPPED"))
    engine.state = "healthy"
    stopped = until(lambda: [t for t in echo.tasks("STOPPED") if t["lastStatus"] == "STOPPED"])
    assert stopped[0]["stopCode"] == "EssentialContainerExited"
    assert stopped[0]["containers"][0]["exitCode"] == 1
    until(lambda: stages(echo) == {"RUNNING"})
    assert len(engine.started) >= 2


def test_a_stopped_task_gets_its_grace(aws: Fake, echo: Echo, engine: Listed):
    engine.state = "healthy"
    made = echo.start()
    aws.settle()
    echo.client("ecs").delete_task_set(cluster="echo", service="echo_server", taskSet=made["id"])
    until(lambda: echo.task_set(made) is None)
    assert sorted(engine.stopped) == sorted((task, lifecycle.GRACE_S) for task in engine.started)


def test_secrets_become_values(aws: Fake, echo: Echo, engine: Listed):
    arn = echo.client("secretsmanager").create_secret(
        Name="echo/client", SecretString=json.dumps({"key": "k", "cert": "c"})
    )["ARN"]
    secrets = [
        {"name": "WHOLE", "valueFrom": arn},
        {"name": "KEY", "valueFrom": f"{arn}:key::"},
    ]
    definition = echo.definition(
        "a", "busybox:1", secrets=secrets, environment=[{"name": "A", "value": "b"}]
    )
    echo.run(definition)
    until(lambda: echo.tasks() and engine.started)
    ((_ip, started),) = engine.started.values()
    (container,) = started["containerDefinitions"]
    told = {each["name"]: each["value"] for each in container["environment"]}
    assert (told["A"], told["KEY"]) == ("b", "k")
    assert json.loads(told["WHOLE"]) == {"key": "k", "cert": "c"}


@pytest.mark.parametrize("key", ["", ":nothing::"])
def test_a_secret_without_a_value_keeps_the_task_from_starting(aws: Fake, echo: Echo, key: str):
    asked = {"Name": "empty"} | ({"SecretString": "{}"} if key else {})
    arn = echo.client("secretsmanager").create_secret(**asked)["ARN"]
    secrets = [{"name": "KEY", "valueFrom": arn + key}]
    echo.run(echo.definition("a", "busybox:1", secrets=secrets))
    (task,) = until(lambda: echo.tasks("STOPPED"))
    assert task["stoppedReason"].startswith("ResourceInitializationError: unable to pull secrets")
