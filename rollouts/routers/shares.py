"""Weights as routers on AWS hold them: relative whole numbers by the name of a target. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

Weights = Mapping[str, int]  # target name → a share of the sum of all; 1 and 1 is half and half


def shares(weights: Weights) -> dict[str, Fraction]:
    """The part of all requests (0–1) that each target gets; targets that get none are left out."""
    total = sum(weights.values())
    return {name: Fraction(weight, total) for name, weight in weights.items() if weight}


def told(weights: Weights) -> str:
    """ "50 % to greeter--1 and 50 % to greeter--2", for people and logs."""
    parts = [f"{float(part) * 100:.4g} % to {name}" for name, part in shares(weights).items()]
    return " and ".join(parts) or "nothing to anybody"


def goal(found: Weights, wanted: Weights, may_stay: Iterable[str]) -> dict[str, int]:
    """What to write: the wanted weights (those found where none are), and at 0 ``may_stay``.

    Targets at 0 stay named: a proxy knows them before requests come, and a load balancer asks for
    their health. The order is by name, so that the same weights are the same text.
    """
    some = _some(wanted) or _some(found)
    return dict(sorted((dict.fromkeys(may_stay, 0) | some).items()))


def _some(weights: Weights) -> dict[str, int]:
    return {name: weight for name, weight in weights.items() if weight}
