"""What the confirm dialogs of a rollout say: effect and duration, before anybody acts. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rollouts.domain.state import Stage
from rollouts.web.board import Board
from rollouts.web.timeline import time_text


@dataclass(frozen=True)
class Words:
    title: str
    button: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """``undo``: it sends traffic back, needs that permission, and its button is red."""

    verb: str
    words: Callable[[Board], Words]
    undo: bool = False


def _rollback(b: Board) -> Words:
    f, new = b.facts, b.facts.new.label
    if f.old is None:
        gone = f"{new} takes no traffic any more: there is no older version to serve it."
        return Words(f"Stop {f.service.slug} {new}?", f"Stop {new} now", (gone, _off(b)))
    old = f.old
    lines = (
        f"Sends 100 % of traffic to {old.label} at once (about 2 s). {old.label} has "
        f"{f.healthy(old.pk)}/{f.service.tasks} healthy tasks.",
        f"{new} stays {time_text(f.service.abort_delay_s)} without traffic, is drained for "
        f"{time_text(f.service.drain_s)}, then its tasks stop.",
        _off(b),
    )
    return Words(
        f"Roll back {f.service.slug} to {old.label}?", f"Roll back to {old.label} now", lines
    )


def _abort(b: Board) -> Words:
    f, new = b.facts, b.facts.new.label
    old = f.old.label if f.old else "no version"
    lines = (
        f"Sends 100 % of traffic to {old} at once (about 2 s).",
        f"{new} keeps its tasks, without traffic, until someone destroys it.",
        _off(b),
    )
    return Words(f"Abort and keep {new} for inspection?", f"Abort, keep {new}", lines)


def _off(b: Board) -> str:
    slug = b.facts.service.slug
    if not b.facts.service.automatic_deploys:
        return f"Automatic deploys of {slug} are off and stay off."
    return f"Automatic deploys of {slug} go off, until someone turns them on again."


def _pause(b: Board) -> Words:
    f = b.facts
    weight = f.service.weight_of(f.new.pk)
    held = f"{f.new.label} = {weight} %"
    lines = (
        f"Weights stay as they are: {held}.",
        "The clock of this step stands still. Failing tasks still roll it back.",
    )
    return Words(f"Pause the rollout at {weight} %?", "Pause", lines)


def _resume(b: Board) -> Words:
    left = b.rollout.left
    rest = f" ({time_text(left)})" if left else ""
    return Words("Resume the rollout?", "Resume", (f"It goes on with the time it had left{rest}.",))


def _promote(b: Board) -> Words:
    rollout, plan = b.rollout, b.rollout.plan
    last = rollout.step + 1 >= len(plan)
    weight = 100 if last else plan[rollout.step + 1]["weight"]
    left = b.rows[b.current - 1].left if b.rows else None
    skips = f"Skips {time_text(left)} of this step." if left else "Ends this step."
    if rollout.stage == Stage.APPROVAL:
        return Words(f"Approve {weight} % to {b.facts.new.label}?", f"Approve {weight} %", (
            f"Sends {weight} % of traffic to {b.facts.new.label} at once.", _warm(b),
        ))  # fmt: skip
    lines = (skips, f"Sends {weight} % of traffic to {b.facts.new.label} at once.", _warm(b))
    return Words(f"Send {weight} % to {b.facts.new.label} now?", f"Promote to {weight} %", lines)


def _promote_full(b: Board) -> Words:
    lines = ("Skips every step that is left.", "Still waits until all tasks are healthy.", _warm(b))
    return Words(f"Send 100 % to {b.facts.new.label} now?", "Promote to 100 %", lines)


def _warm(b: Board) -> str:
    old = b.facts.old
    if old is None:
        return "There is no older version to roll back to."
    delay = time_text(b.facts.service.scale_down_delay_s)
    return f"{old.label} stays warm for {delay} after 100 %, so a rollback stays fast."


QUESTIONS = {
    question.verb: question
    for question in (
        Question("rollback", _rollback, undo=True),
        Question("abort", _abort, undo=True),
        Question("pause", _pause),
        Question("resume", _resume),
        Question("promote", _promote),
        Question("promote-full", _promote_full),
    )
}
