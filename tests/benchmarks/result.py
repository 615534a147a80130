"""What a benchmark found: the lines of its table, its raw samples, and what was wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.numbers import quantile


@dataclass(frozen=True)
class Line:
    """One line of the table, numbers as text with their units."""

    what: str
    n: int
    numbers: Mapping[str, str]


@dataclass
class Result:
    """``wrong`` has one sentence for each check that failed; then no number is published."""

    title: str
    lines: list[Line] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def spread(seconds: Sequence[float]) -> dict[str, str]:
    """p50, p99 and maximum in milliseconds."""
    marks = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: f"{quantile(seconds, at) * 1000:.2f} ms" for name, at in marks.items()}
