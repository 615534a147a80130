"""Which ends of a task are failures, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from rollouts.aws import Account
from rollouts.domain.failures import explain
from rollouts.models import Service
from rollouts.platforms.ecs_place import Place
from rollouts.platforms.ecs_stopped import cannot_place, culprit, failed, reason_of
from rollouts.platforms.ecs_tasks import not_placed
from tests.platforms.test_ecs_plan import a_set, found


def ended(code: str, said: str, *containers: dict[str, Any]) -> dict[str, Any]:
    return {"stopCode": code, "stoppedReason": said, "containers": list(containers)}


def container(name: str, code: int | None, reason: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {"name": name}
    return made | ({"exitCode": code} if code is not None else {}) | (
        {"reason": reason} if reason else {})  # fmt: skip


@pytest.mark.parametrize(
    ("code", "said", "failure"),
    [
        ("TaskFailedToStart", "CannotPullContainerError: not found", True),
        ("EssentialContainerExited", "Essential container in task exited", True),
        ("ServiceSchedulerInitiated", "Task failed container health checks", True),
        ("ServiceSchedulerInitiated", "Task failed ELB health checks in (target-group x)", True),
        ("ServiceSchedulerInitiated", "Scaling activity initiated by (task-set x)", False),
        ("UserInitiated", "Task stopped by user", False),
        ("SpotInterruption", "Your Spot Task was interrupted.", False),
        ("TerminationNotice", "", False),
    ],
)
def test_only_what_nobody_asked_for_is_a_failure(code: str, said: str, failure: bool) -> None:
    assert failed(ended(code, said)) is failure
    card = explain(said or code)
    assert card is not None
    assert card.grey is not failure


def test_the_container_that_ended_is_named_with_its_code() -> None:
    task = ended(
        "EssentialContainerExited", "Essential container in task exited", container("app", 1)
    )
    assert reason_of(task) == "Essential container in task exited. app: exit code 1."


def test_ecs_words_for_a_container_are_kept() -> None:
    task = ended(
        "EssentialContainerExited", "Essential container in task exited",
        container("app", 137, "OutOfMemoryError: Container killed due to memory usage"),
    )  # fmt: skip
    assert reason_of(task) == (
        "Essential container in task exited. app: exit code 137, OutOfMemoryError: Container"
        " killed due to memory usage."
    )


def test_a_pull_that_failed_is_told_once() -> None:
    said = "CannotPullContainerError: failed to resolve ref x: not found"
    assert reason_of(ended("TaskFailedToStart", said, container("app", None, said))) == f"{said}."


def test_whoever_was_ended_along_is_not_blamed() -> None:
    envoy, app = container("envoy", 143), container("app", 1)
    assert culprit(ended("EssentialContainerExited", "x", envoy, app)) == app
    assert culprit(ended("EssentialContainerExited", "x", app | {"exitCode": 0},
                         envoy | {"exitCode": 1})) == envoy | {"exitCode": 1}  # fmt: skip
    assert culprit(ended("TaskFailedToStart", "x")) is None


def test_why_no_task_can_be_made_is_the_newest_word_about_the_set() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    unable = "(service s, taskSet ecs-svc/1) was unable to place a task. Reason: Capacity is …"
    events = [{"createdAt": at, "message": unable}]
    assert cannot_place(events, "ecs-svc/1") == unable
    assert cannot_place(events, "ecs-svc/2") == ""
    started = {"createdAt": at, "message": "(service s, taskSet ecs-svc/1) has started 1 tasks"}
    assert cannot_place([started, *events], "ecs-svc/1") == ""


def test_a_set_for_which_no_task_can_be_made_says_why() -> None:
    unable = "(service s, taskSet ecs-svc/7) was unable to place a task. Reason: Capacity is …"
    of = a_set(7, running=0, steady=False)
    there = found(2, of)
    there = replace(there, events=[{"message": unable}])
    place = Place(Account("x"), "echo", Service(slug="greeter"), "EchoServer", {})
    (told,) = not_placed(place, there, of, [])
    assert (told.reason, told.exits, told.healthy, told.index) == (unable, 0, False, 100)
    assert not_placed(place, there, replace(of, pending=2), []) == []
