"""What a person is told about a task that does not live: by the words of ECS and of processes."""

from __future__ import annotations

import pytest

from rollouts.domain.failures import TABLE, brief, explain

DIGEST = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/echo/echo_server@sha256:" + "a" * 64

SAID = [
    (f"CannotPullContainerError: failed to resolve ref {DIGEST}: not found", "Image not found"),
    (
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to do"
        ' request: Head "https://1.dkr.ecr/v2": dial tcp 10.0.0.1:443: i/o timeout',
        "No way to the registry or the secrets",
    ),
    (
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource"
        " retrieval failed: unable to retrieve ecr registry auth: service call has been retried",
        "No way to the registry or the secrets",
    ),
    (
        "ResourceInitializationError: unable to pull secrets or registry auth: AccessDenied"
        "Exception: User: arn:aws:sts::1:assumed-role/x is not authorized to perform:"
        " secretsmanager:GetSecretValue on resource: y",
        "A role lacks a right",
    ),
    (
        "CannotPullContainerError: pull access denied for echo_server, repository does not exist",
        "A role lacks a right",
    ),
    (
        "ResourceInitializationError: failed to validate logger args: create stream has been"
        " retried 1 times: ResourceNotFoundException: The specified log group does not exist.",
        "No place for its logs",
    ),
    (
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource"
        " retrieval failed: ResourceNotFoundException: Secrets Manager can't find the specified"
        " secret.",
        "A secret cannot be read",
    ),
    (
        "Timeout waiting for network interface provisioning to complete.",
        "No address or network interface left",
    ),
    (
        "(service x) was unable to place a task. Reason: Capacity is unavailable at this time.",
        "No capacity on Fargate",
    ),
    ("You've reached the limit on the number of tasks you can run", "A quota is reached"),
    ("Essential container in task exited. app: exit code 1.", "A container ended"),
    ("Essential container in task exited. app: exit code 137.", "Out of memory, or killed"),
    (
        "Essential container in task exited. app: OutOfMemoryError: Container killed due to memory"
        " usage",
        "Out of memory, or killed",
    ),
    ("Essential container in task exited. app: exit code 139.", "The program crashed"),
    ("Essential container in task exited. app: exit code 127.", "The command cannot be run"),
    ("EssentialContainerExited", "A container ended"),
    ("Task failed container health checks", "Never became healthy"),
    (
        "Task failed ELB health checks in (target-group arn:aws:x:targetgroup/echo-v1/1)",
        "Never became healthy",
    ),
    ("CannotStartContainerError: Error response from daemon", "A container cannot be started"),
    ("killed by signal 9 (SIGKILL)", "Out of memory, or killed"),
    ("exited with code 1. Last line: boom", "The program ended"),
    ("exited with code 137", "Out of memory, or killed"),
]
GREY = [
    ("Scaling activity initiated by (task-set ecs-svc/123)", "Stopped by ECS"),
    ("ServiceSchedulerInitiated", "Stopped by ECS"),
    ("Task stopped by user", "Stopped by a person"),
    ("UserInitiated", "Stopped by a person"),
    ("SpotInterruption: Your Spot Task was interrupted.", "AWS took the machine back"),
    ("InfrastructureHealth", "AWS took the machine back"),
]


@pytest.mark.parametrize(("reason", "title"), SAID)
def test_each_known_word_of_a_failure_has_a_card(reason: str, title: str) -> None:
    card = explain(reason)
    assert card is not None
    assert (card.title, card.grey) == (title, False)
    assert card.offers, "a failure comes with what to do"


@pytest.mark.parametrize(("reason", "title"), GREY)
def test_what_somebody_wanted_is_grey(reason: str, title: str) -> None:
    card = explain(reason)
    assert card is not None
    assert (card.title, card.grey) == (title, True)


def test_a_missing_right_is_named() -> None:
    card = explain("AccessDeniedException: x is not authorized to perform: ecr:BatchGetImage on y")
    assert card is not None
    assert "ecr:BatchGetImage" in card.text
    assert "ecr:BatchGetImage to the execution role" in card.offers[0]


def test_an_exit_code_is_named() -> None:
    card = explain("Essential container in task exited. app: exit code 3.")
    assert card is not None
    assert "exit code 3" in card.text


@pytest.mark.parametrize("reason", ["", "It does not like Mondays.", "The next step waits."])
def test_unknown_words_have_no_card(reason: str) -> None:
    assert explain(reason) is None


def test_no_card_shows_a_place_that_was_not_filled() -> None:
    said = {reason: explain(reason) for reason, _ in [*SAID, *GREY]}
    for reason, card in said.items():
        assert card is not None
        assert "{" not in " ".join([card.text, *card.offers]), reason


def test_every_card_of_the_table_can_be_reached() -> None:
    shown = {card.title for reason, _ in [*SAID, *GREY] if (card := explain(reason))}
    more = ["ResourceInitializationError: x", "CannotPullContainerError: x", "exit code 143"]
    shown |= {card.title for reason in more if (card := explain(reason))}
    assert shown == {card.title for _, card in TABLE}


WORDS = (
    "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve "
    f"ref 1.dkr.ecr.eu-west-1.amazonaws.com/echo@sha256:{'a' * 64}: not found"
)


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        (WORDS, "Image not found"),
        (f"1.1 does not start: {WORDS}", "1.1 does not start: Image not found"),
        ("Nobody approved 50 % within 60 s.", "Nobody approved 50 % within 60 s."),
        ("x" * 161, "x" * 159 + "…"),
        ("", ""),
    ],
)
def test_a_reason_fits_into_one_line(reason: str, line: str) -> None:
    assert brief(reason) == line
