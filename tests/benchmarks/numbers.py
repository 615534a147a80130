"""The arithmetic of the benchmarks. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` (0–1) of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def ratios(ours: Sequence[Sequence[float]], peer: Sequence[Sequence[float]]) -> list[float]:
    """The median of each round over the peer's median in the same round."""
    return [median(a) / median(b) for a, b in zip(ours, peer, strict=True)]


def chi_square_p(hits: int, of: int, share: float) -> float:
    """How likely a split at least as far from ``share`` (0 < share < 1) is by chance alone."""
    expected = of * share
    chi_square = (hits - expected) ** 2 * (1 / expected + 1 / (of - expected))
    return math.erfc(math.sqrt(chi_square / 2))


def holm(chances: Mapping[int, float]) -> dict[int, float]:
    """Holm's correction: p-values that may be compared with a limit although there are many."""
    corrected: dict[int, float] = {}
    highest = 0.0
    for place, (key, p) in enumerate(sorted(chances.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, p * (len(chances) - place)))
        corrected[key] = highest
    return corrected
