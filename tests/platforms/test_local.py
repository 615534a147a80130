"""What the local platform makes of the supervisor's answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rollouts.models import Service
from rollouts.platforms import local

KILLED = {"code": -9, "at": 1.0, "text": "killed by signal 9 (SIGKILL)", "log": ["Listening."]}


def task(**changes: Any) -> dict[str, Any]:
    row = {
        "id": "service-1/7/0", "set": "7", "index": 0, "pid": 11, "host": "127.0.0.1",
        "port": 20001, "state": "running", "healthy": False, "health": "no answer in 1 s",
        "exits": 1, "last_exit": KILLED, "started_at": 2.0,
    }  # fmt: skip
    return row | changes


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """Rows that the supervisor answers with."""
    rows: list[dict[str, Any]] = []
    answer = {"tasks": rows}
    monkeypatch.setattr(
        "rollouts.platforms.local.SupervisorClient.observe", lambda self, group: answer
    )
    return rows


def reason(told: list[dict[str, Any]], **changes: Any) -> str:
    told[:] = [task(**changes)]
    (only,) = local.LocalPlatform().observe(Service(pk=1))[7]
    return only.reason


def test_a_running_task_is_ill_for_its_health_not_for_how_an_earlier_life_ended(
    told: list[dict[str, Any]],
) -> None:
    assert reason(told) == "service-1/7/0 is running; health: no answer in 1 s."


@pytest.mark.parametrize("state", ["backoff", "starting", "ended"])
def test_a_task_that_died_says_how_with_its_last_line(
    told: list[dict[str, Any]], state: str
) -> None:
    assert reason(told, state=state) == "killed by signal 9 (SIGKILL). Last line: Listening."


def test_a_healthy_task_still_says_how_it_died_last(told: list[dict[str, Any]]) -> None:
    assert reason(told, healthy=True) == "killed by signal 9 (SIGKILL)"
