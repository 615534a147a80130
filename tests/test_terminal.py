"""What the terminal of ``manage.py up`` shows for the supervisor's lines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rollouts.management.terminal import Terminal
from rollouts.models import Service


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    written = Terminal(lambda line: None)
    yield written
    written.close()


def test_a_task_is_named_by_service_and_version(terminal: Terminal, service: Service) -> None:
    version = service.versions.get(label="1.0")
    line = f"service-{service.pk}/{version.pk}/0 running  127.0.0.1:20001   0.2 s"
    assert terminal.in_words(line) == "greeter 1.0 #1      running  127.0.0.1:20001   0.2 s"


def test_a_task_of_an_unknown_version_keeps_its_id(terminal: Terminal, db: None) -> None:
    assert terminal.in_words("service-1/99/0 stopped").split() == ["service-1/99/0", "stopped"]


def test_the_envoy_of_a_stack_is_an_envoy(terminal: Terminal) -> None:
    assert terminal.in_words("stack-1/envoy/0 died     exited with code 1").startswith("envoy  ")


def test_parts_are_in_the_same_column(terminal: Terminal) -> None:
    assert (
        terminal.in_words("worker         ready    0.0 s") == "worker              ready    0.0 s"
    )


def test_sentences_stay_as_they_are(terminal: Terminal) -> None:
    sentence = "web needs port 8000, which is taken by python (pid 12)."
    assert terminal.in_words(sentence) == sentence


def test_lines_are_written_in_order_before_it_closes() -> None:
    lines: list[str] = []
    terminal = Terminal(lines.append)
    for number in range(50):
        terminal.say(f"line {number}")
    terminal.close()
    assert lines == [f"line {number}" for number in range(50)]
