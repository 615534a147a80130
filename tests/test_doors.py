"""The command line door, and what is left behind by refusals."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from rollouts.domain.state import Phase
from rollouts.models import Event, Rollout, Service


@pytest.fixture
def admin(db: None) -> User:
    return User.objects.create_superuser("boss", password="correct horse")


def cli(*words: str) -> str:
    out = StringIO()
    call_command("rollout", *words, stdout=out)
    return out.getvalue()


def test_the_command_line_deploys_and_rolls_back(service: Service, admin: User, tick: Any) -> None:
    cli("deploy", "greeter", "0.9")
    tick()
    cli("deploy", "greeter", "1.0", "--plan", "50:1h,100")
    tick()
    assert "0.9 50 %, 1.0 50 %" in cli("status")
    cli("--reason", "p95 doubled", "rollback", "greeter")
    tick()
    rollout = Rollout.objects.first()
    assert rollout is not None
    assert rollout.phase == Phase.ROLLED_BACK
    asked = Event.objects.filter(verb="rollback", source="cli").get()
    assert (asked.actor, asked.reason) == ("boss", "p95 doubled")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("deploy", "nobody", "1.0"), "There is no service nobody"),
        (("deploy", "greeter", "7"), "has no version 7; it has"),
        (("deploy", "greeter", "1.0", "--plan", "50:"), "Step 1: write weight:hold"),
        (("rollback", "greeter"), "No rollout of greeter is running"),
        (("--by", "ghost", "deploy", "greeter", "1.0"), "There is no user ghost"),
    ],
)
def test_the_command_line_says_what_is_wrong(
    service: Service, admin: User, words: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(CommandError, match=sentence):
        cli(*words)
    assert not Rollout.objects.exists()
