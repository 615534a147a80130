"""Template tags for what every page writes the same way: icons, times, figures, versions, states.

Only formatting: no queries; the clock only to know what day today is.
"""

from __future__ import annotations

from datetime import UTC, datetime

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from rollouts.models import Rollout, Version

register = template.Library()
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
DAY_S, HOUR_S, MINUTE_S = 86_400, 3600, 60


@register.simple_tag
def icon(name: str, css: str = "") -> SafeString:
    """A drawing next to a word; it has no meaning of its own."""
    return format_html(
        '<svg class="i {}" aria-hidden="true"><use href="{}#{}"/></svg>',
        css,
        static("rollouts/icons.svg"),
        name,
    )


@register.simple_tag
def clock(moment: datetime | float | None, mode: str = "clock") -> SafeString | str:
    """A <time>, 24 h. ``moment``: a datetime or Unix seconds; None is "—".

    Mode "clock" is HH:MM:SS, for rows of one block; "full" adds the zone; "date" is for rows that
    may be older than today: "12 Nov 11:33", with the year when it is another one.
    """
    if moment is None:
        return "—"
    utc = datetime.fromtimestamp(moment, UTC) if isinstance(moment, int | float) else moment
    utc = utc.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{}" data-t="{}">{}</time>',
        f"{utc:%Y-%m-%dT%H:%M:%SZ}",
        f"{utc:%Y-%m-%d %H:%M:%S} UTC",
        mode,
        _clock_text(utc, mode),
    )


def _clock_text(utc: datetime, mode: str) -> str:
    # The browser writes the same, in the chosen zone: a longer text here would move the columns.
    today = timezone.now()
    if mode == "date" and utc.date() != today.date():
        year = "" if utc.year == today.year else f"{utc:%Y} "
        return f"{utc.day} {MONTHS[utc.month - 1]} {year}{utc:%H:%M}"
    return f"{utc:%H:%M:%S} UTC" if mode == "full" else f"{utc:%H:%M:%S}"


@register.filter
def dur(seconds: float | None) -> str:
    """42 s, 6 m 22 s, 1 h 04 m, 3 d 2 h; "—" for None, never negative."""
    if seconds is None:
        return "—"
    left = max(0, int(seconds))
    days, hours, minutes = left // DAY_S, left % DAY_S // HOUR_S, left % HOUR_S // MINUTE_S
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02d} m"
    return f"{minutes} m {left % MINUTE_S:02d} s" if minutes else f"{left} s"


@register.filter
def pct(percent: float | None, places: int = 1) -> str:
    """A share or rate in percent; "—" when nothing was measured, never 0 %."""
    return "—" if percent is None else f"{percent:.{int(places)}f} %"


@register.filter
def ms(milliseconds: float | None) -> str:
    """Milliseconds, whole from 10 up; "—" when nothing was measured."""
    if milliseconds is None:
        return "—"
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"


@register.simple_tag
def ver(version: Version | None, role: str = "") -> SafeString | str:
    """A version's chip: label, its colour, square when old and circle when ``role`` is "new"."""
    if version is None:
        return "—"
    return format_html('<span class="ver s{} {}">{}</span>', version.slot, role, version.label)


PILL_ICONS = {
    "queued": "clock",
    "progress": "loader-circle",
    "waiting": "hand",
    "paused": "circle-pause",
    "requested": "undo-2",
    "rolling": "undo-2",
    "stuck": "triangle-alert",
    "rolled_back": "undo-2",
    "succeeded": "circle-check",
    "failed": "circle-x",
    "idle": "circle-check",
}


@register.simple_tag
def pill(kind: str, label: str) -> SafeString:
    """A state: tint, icon and word. ``kind`` as in ``rollouts.live.pill``."""
    drawing = icon(PILL_ICONS.get(kind, "info"), "spin" if kind == "progress" else "")
    return format_html('<span class="pill {}">{}{}</span>', kind, drawing, label)


@register.simple_tag
def took(rollout: Rollout) -> str:
    """How long a finished rollout took; "—" while it is under way."""
    if rollout.finished_at is None:
        return "—"
    return dur((rollout.finished_at - rollout.created_at).total_seconds())


@register.filter
def slot(version: Version) -> int:
    """The number of a version's colour, 1–5, for a class."""
    return version.slot
