"""Which failure a rollout page explains, and whether there is an explanation at all.

Used by the rollout page and the tag ``failure``. The explanations are ``domain.failures``.
"""

from __future__ import annotations

from dataclasses import dataclass

from rollouts.domain.failures import Card, explain
from rollouts.domain.state import Phase
from rollouts.web.facts import Facts

WENT_WRONG = (Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.FAILED)


@dataclass(frozen=True)
class Failure:
    """``reason``: the words that were said; ``card``: what they mean."""

    reason: str
    card: Card


def known(reason: str) -> Card | None:
    """The card of a reason; None when it is not one of those that can be explained."""
    return explain(reason) if reason else None


def failure_of(facts: Facts) -> Failure | None:
    """Why the rollout failed or went back, when that can be explained."""
    if Phase(facts.rollout.phase) not in WENT_WRONG:
        return None
    # A person's reason is their own: it is not searched for AWS's words.
    own = () if facts.rollout.rollback_requested_at else (facts.rollout.reason,)
    unwell = [t.reason for t in facts.tasks_of(facts.new.pk) if t.reason and not t.healthy]
    for reason in (*own, *(unwell if facts.newest else ())):
        card = known(reason)
        if card is not None:
            return Failure(reason, card)
    return None
