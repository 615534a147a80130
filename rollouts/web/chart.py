"""The chart of a rollout: its series, its marks, its table, and an SVG that needs no script.

Used by the rollout page, ``series.json``, ``split.svg`` and the report. The points themselves are
made by ``live.points``, the same that the stream sends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from rollouts.live.points import LOOK_BACK_S, Pair, Point, Weights, points
from rollouts.models import Rollout, Route, TrafficBucket
from rollouts.web.timeline import Row

WINDOWS = {"15m": 900, "30m": 1800, "all": 6 * 3600}
MOST_POINTS = 1800
AFTER_S = 60  # how long after its end a rollout that is over is still drawn


@dataclass(frozen=True)
class Mark:
    """A step's number above the chart at Unix time ``t``; ``undo``: the rollback, red."""

    t: float
    number: int
    name: str
    undo: bool = False


@dataclass(frozen=True)
class Chart:
    """Points of seconds ``first`` to ``last``. ``live``: the stream goes on where they end."""

    first: int
    last: int
    live: bool
    points: Sequence[Point]
    marks: Sequence[Mark]
    new: str
    old: str
    new_slot: int
    old_slot: int

    def body(self, now: float) -> dict[str, Any]:
        """Compact JSON: one list per column."""
        rows = [point.row() for point in self.points]
        names = ("t", "d", "o", "sN", "sO", "pN", "pO")
        columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)) if rows else {}
        marks = [[round(m.t, 1), m.number, m.name, m.undo] for m in self.marks]
        return {
            "now": round(now, 3),
            "first": self.first,
            "last": self.last,
            "live": self.live,
            "columns": columns or {name: [] for name in names},
            "marks": marks,
        }

    def table(self) -> list[Point]:
        """One point a minute, the newest first, at most 60."""
        return [p for p in reversed(self.points) if p.t % 60 == 0][:60]

    @property
    def latest(self) -> Point | None:
        return self.points[-1] if self.points else None


def chart(rollout: Rollout, rows: Sequence[Row], now: float, *, span: str, newest: bool) -> Chart:
    """Read and build. ``span``: 15m, 30m or all (six hours at most)."""
    first, last, live = _range(rollout, now, span, newest)
    every = max(1, (last - first) // MOST_POINTS + 1)
    buckets = TrafficBucket.objects.filter(service=rollout.service_id, source="sampler")
    found = buckets.between(first - LOOK_BACK_S, last)
    routes = Route.objects.filter(service=rollout.service_id)
    pair = Pair(rollout.to_version_id, rollout.from_version_id)
    made = points(found, Weights.of(routes[:500]), pair, first, last)
    old = rollout.from_version
    return Chart(
        first=first,
        last=last,
        live=live,
        points=made[::every],
        marks=[m for m in marks_of(rows) if first <= m.t <= last + 1],
        new=rollout.to_version.label,
        old=old.label if old else "",
        new_slot=rollout.to_version.slot,
        old_slot=old.slot if old else 0,
    )


def _range(rollout: Rollout, now: float, span: str, newest: bool) -> tuple[int, int, bool]:
    """First and last second, and whether the chart goes on live."""
    end = rollout.finished_at
    live = newest and (end is None or now - end.timestamp() < WINDOWS["15m"])
    last = int(now) - 1
    if not live and end is not None:
        last = min(last, int(end.timestamp()) + AFTER_S)
    first = last - WINDOWS[span] + 1
    if span == "all":
        first = max(first, int(rollout.created_at.timestamp()) - AFTER_S)
    return first, last, live


def marks_of(rows: Sequence[Row]) -> list[Mark]:
    """A mark for each step that has begun, in order of time."""
    begun = [Mark(row.at, row.number, row.name, row.undo) for row in rows if row.at is not None]
    return sorted(begun, key=lambda mark: mark.t)


# --- the drawing
WIDTH, HEIGHT = 860, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 24, 26


@dataclass(frozen=True)
class _Frame:
    first: int
    last: int

    def x(self, t: float) -> float:
        span = max(1, self.last - self.first)
        return round(LEFT + (t - self.first) / span * (WIDTH - LEFT - RIGHT), 1)

    def y(self, percent: float) -> float:
        return round(TOP + (100 - percent) / 100 * (HEIGHT - TOP - BOTTOM), 1)


def svg(drawn: Chart, *, alone: bool = False, clock: Any = None) -> SafeString:
    """The split as SVG. ``alone``: a file of its own, with colours; else the page's CSS paints it.

    ``clock(t)`` writes a time of day.
    """
    frame = _Frame(drawn.first, drawn.last)
    style = f"<style>{_STYLE}</style>" if alone else ""
    space = ' xmlns="http://www.w3.org/2000/svg"' if alone else ""
    title = f"Share of requests to {drawn.new}, desired and observed"
    parts = [
        f'<svg{space} class="ssvg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{style}',
        _hatch(),
        _grid(frame, clock),
        *(_area(frame, run, drawn) for run in _runs(drawn.points)),
        _desired(frame, drawn.points),
        *(_mark(frame, group) for group in _groups(frame, drawn.marks)),
        "</svg>",
    ]
    return mark_safe("".join(parts))  # noqa: S308  labels are escaped, the rest is numbers


_STYLE = (
    ".ssvg text{font:12px sans-serif;fill:#525c6b}.g{stroke:#dfe3e8}.a1{fill:#cfe0f5}"
    ".a2{fill:#f3d3b5;stroke:#a84b06}.hl{stroke:#a84b06}.d{fill:none;stroke:#14181f;"
    "stroke-width:2;stroke-dasharray:6 4}.m{stroke:#14181f;stroke-dasharray:3 3;opacity:.5}"
    ".mu{stroke:#b3231b}.ssvg .mb{font-weight:600;fill:#14181f}.ssvg .mbu{font-weight:600;"
    "fill:#b3231b}svg{background:#fff}"
)


def _hatch() -> str:
    return (
        '<defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><line class="hl" x1="0" y1="0" x2="0" y2="7"/></pattern>'
        "</defs>"
    )


def _grid(frame: _Frame, clock: Any) -> str:
    lines = "".join(
        f'<line class="g" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{frame.y(v)}" y2="{frame.y(v)}"/>'
        f'<text x="{LEFT - 6}" y="{frame.y(v) + 4}" text-anchor="end">{v} %</text>'
        for v in (0, 25, 50, 75, 100)
    )
    if clock is None:
        return lines
    step = max(60, (frame.last - frame.first) // 6 // 60 * 60)
    start = frame.first + (-frame.first) % step
    return lines + "".join(
        f'<text x="{frame.x(t)}" y="{HEIGHT - 8}" text-anchor="middle">{escape(clock(t))}</text>'
        for t in range(start, frame.last, step)
    )


def _runs(found: Sequence[Point]) -> list[list[Point]]:
    """Unbroken stretches of observed points: a gap stays a gap."""
    runs: list[list[Point]] = [[]]
    for point in found:
        if point.observed is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return [run for run in runs if run]


def _area(frame: _Frame, run: Sequence[Point], drawn: Chart) -> str:
    x0, x1 = frame.x(run[0].t), frame.x(run[-1].t + 1)
    edge = " ".join(f"{frame.x(p.t)},{frame.y(p.observed or 0)}" for p in run)
    edge += f" {x1},{frame.y(run[-1].observed or 0)}"
    shape = f"{x0},{frame.y(0)} {edge} {x1},{frame.y(0)}"
    back = f'<rect class="a1 v{drawn.old_slot}" x="{x0}" y="{frame.y(100)}" '
    back += f'width="{round(x1 - x0, 1)}" height="{frame.y(0) - frame.y(100)}"/>'
    return (
        f'{back}<polygon class="a2 v{drawn.new_slot}" points="{shape}"/>'
        f'<polygon fill="url(#hatch)" points="{shape}"/>'
    )


def _desired(frame: _Frame, found: Sequence[Point]) -> str:
    path, before = [], None
    for point in found:
        if point.desired is None:
            before = None
        elif before is None:
            path.append(f"M{frame.x(point.t)} {frame.y(point.desired)}")
            before = point.desired
        elif point.desired != before:
            path.append(f"H{frame.x(point.t)}V{frame.y(point.desired)}")
            before = point.desired
    if path:
        path.append(f"H{frame.x(found[-1].t + 1)}")
    return f'<path class="d" d="{"".join(path)}"/>' if path else ""


def _groups(frame: _Frame, marks: Sequence[Mark]) -> list[list[Mark]]:
    """Marks closer than 22 px share one badge; the rollback never does."""
    groups: list[list[Mark]] = []
    for mark in marks:
        near = groups and frame.x(mark.t) - frame.x(groups[-1][-1].t) < 22
        if near and groups[-1][-1].undo == mark.undo:
            groups[-1].append(mark)
        else:
            groups.append([mark])
    return groups


def _mark(frame: _Frame, group: Sequence[Mark]) -> str:
    first, last = group[0], group[-1]
    line = "m mu" if first.undo else "m"
    badge = "mbu" if first.undo else "mb"
    text = f"{first.number}" if first is last else f"{first.number}–{last.number}"
    lines = "".join(
        f'<line class="{line}" x1="{frame.x(m.t)}" x2="{frame.x(m.t)}" '
        f'y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        for m in group
    )
    name = escape(", ".join(m.name for m in group))
    return (
        f"<g><title>{name}</title>{lines}"
        f'<text class="{badge}" x="{frame.x(first.t)}" y="15" text-anchor="middle">'
        f"{'↩' if first.undo else text}</text></g>"
    )
