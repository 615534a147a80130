"""Where walks begin: a rollout at half, and one that was promoted."""

from __future__ import annotations

from rollouts.domain.plan import Plan
from rollouts.domain.state import Phase, Stage
from tests.domain.world import Walk

HALF = "50:approval, 100"


def at_half(plan: str | Plan = HALF, **settings) -> Walk:
    """1.0 has 50 %, confirmed, and waits there."""
    walk = Walk(**settings)
    walk.deploy("1.0", plan)
    walk.until_true(lambda: walk.rollout.stage in (Stage.HOLD, Stage.APPROVAL))
    return walk


def promoted(**settings) -> Walk:
    """1.0 is stable since this very moment, 0.9 is warm."""
    walk = Walk(**settings)
    walk.deploy("1.0", "100")
    walk.until(Phase.SUCCEEDED)
    return walk
