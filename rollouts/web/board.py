"""The board: everything a rollout page says, as plain values. Pure over Facts.

Built by ``web.rollout`` for the page and its parts; templates only print it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, PermissionsMixin
from django.urls import reverse

from rollouts.domain.state import Phase, Stage
from rollouts.live.figures import Figures
from rollouts.live.pill import Pill, pill_of
from rollouts.models import Event, Rollout, Task, Version
from rollouts.web.facts import Facts, read_facts
from rollouts.web.timeline import Row, timeline
from rollouts.web.verdict import Verdict, verdict

OPERATE = "rollouts.operate_service"
UNDO = "rollouts.rollback_rollout"


@dataclass(frozen=True)
class Action:
    """A button. ``look``: plain, primary, danger or menu.

    Not ``allowed``: grey, but it keeps its place and can be focused.
    """

    verb: str
    label: str
    icon: str
    href: str
    look: str = "plain"
    keys: str = ""
    allowed: bool = True


@dataclass(frozen=True)
class VersionLine:
    """One row of By version. ``desired`` and ``role`` are wishes, ``figures`` are observed."""

    version: Version
    role: str
    desired: int
    figures: Figures
    healthy: int
    wanted: int
    tasks: Sequence[Task]


@dataclass(frozen=True)
class Board:
    facts: Facts
    pill: Pill
    verdict: Verdict
    rows: tuple[Row, ...]
    lines: tuple[VersionLine, ...]
    actions: tuple[Action, ...]
    busy: bool
    weights_note: str
    revision: str

    @property
    def rollout(self) -> Rollout:
        return self.facts.rollout

    @property
    def events(self) -> Sequence[Event]:
        return self.facts.events

    @property
    def current(self) -> int:
        """Number of the row that is under way; of the last that was, when none is."""
        started = [row.number for row in self.rows if row.state not in ("todo", "skipped")]
        now = [row.number for row in self.rows if row.state in ("current", "paused")]
        return (now or started or [0])[-1]

    @property
    def forward(self) -> int:
        return sum(not row.undo for row in self.rows)

    @property
    def elapsed(self) -> float:
        end = self.rollout.finished_at or self.facts.now
        return max(0.0, (end - self.rollout.created_at).total_seconds())

    @property
    def denied(self) -> bool:
        return any(not action.allowed for action in self.actions)

    @property
    def unnamed(self) -> Figures | None:
        """Sampled requests whose answer named no version: errors, mostly."""
        found = self.facts.figures.get(None)
        return found if found and found.requests else None


def board(
    rollout: Rollout, user: AbstractBaseUser | AnonymousUser, now: datetime, revision: str = ""
) -> Board:
    return from_facts(read_facts(rollout, now), user, revision)


def from_facts(facts: Facts, user: AbstractBaseUser | AnonymousUser, revision: str = "") -> Board:
    weight = facts.service.weight_of(facts.new.pk)
    pill = pill_of(facts.rollout, weight=weight, stuck=facts.stuck)
    return Board(
        facts=facts,
        pill=pill,
        verdict=verdict(facts),
        rows=timeline(facts),
        lines=lines(facts),
        actions=actions(facts, pill, user),
        busy=pill.kind in ("requested", "rolling"),
        weights_note=_weights_note(facts),
        revision=revision,
    )


def lines(facts: Facts) -> tuple[VersionLine, ...]:
    """The new version first, then the old one, then any other that has traffic or tasks."""
    first = [v.pk for v in (facts.new, facts.old) if v is not None]
    busy = [v for v in facts.versions if facts.service.weight_of(v) or facts.tasks_of(v)]
    shown = list(dict.fromkeys([*first, *(busy if facts.newest else [])]))
    return tuple(_line(facts, facts.versions[pk]) for pk in shown if pk in facts.versions)


def _line(facts: Facts, version: Version) -> VersionLine:
    role = "new" if version.pk == facts.new.pk else "old"
    if facts.old is not None and version.pk not in (facts.new.pk, facts.old.pk):
        role = "idle"
    return VersionLine(
        version=version,
        role=role,
        desired=facts.service.weight_of(version.pk),
        figures=facts.figures_of(version.pk),
        healthy=facts.healthy(version.pk),
        wanted=version.count,
        tasks=facts.tasks_of(version.pk),
    )


def _weights_note(facts: Facts) -> str:
    """Desired, acknowledged: who has not confirmed, who refuses, who is silent."""
    if not facts.newest or facts.route is None:
        return ""
    refusing = [p.node for p in facts.proxies if p.nack]
    silent = [p.node for p in facts.proxies if not p.connected]
    total = len(facts.proxies)
    if refusing:
        return f"Refused by {', '.join(refusing)}."
    if facts.confirmed:
        return f"Confirmed by every proxy{' (' + str(total) + ')' if total else ''}."
    if silent:
        return f"Not confirmed: {', '.join(silent)} is not connected."
    lagging = ", ".join(p.node for p in facts.lagging())
    return f"Not confirmed yet by {lagging}." if lagging else "Not confirmed yet."


def actions(facts: Facts, pill: Pill, user: AbstractBaseUser | AnonymousUser) -> tuple[Action, ...]:
    """The buttons that make sense now, the undo last."""
    kind, rollout = pill.kind, facts.rollout
    if kind in ("requested", "rolling"):
        retry = kind == "requested" and facts.worker_late
        return (_undo(facts, user, "Try again"),) if retry else ()
    if kind == "stuck":
        return (_undo(facts, user, "Try again"),)
    if not rollout.is_live:
        return _after(facts, user)
    made = [*_moves(facts, user), *_menu(facts, user)]
    return (*made, _undo(facts, user))


def _moves(facts: Facts, user: AbstractBaseUser | AnonymousUser) -> list[Action]:
    rollout, allowed = facts.rollout, may(user, OPERATE)
    made = []
    if rollout.stage == Stage.APPROVAL and rollout.phase == Phase.PROGRESSING:
        made.append(
            _act(facts, "promote", "Approve", "check", "primary", keys="Shift+P", allowed=allowed)
        )
    elif _holds(rollout):
        made.append(
            _act(
                facts,
                "promote",
                "Promote",
                "chevrons-right",
                "plain",
                keys="Shift+P",
                allowed=allowed,
            )
        )
    if rollout.paused:
        made.insert(0, _act(facts, "resume", "Resume", "play", "plain", keys="p", allowed=allowed))
    elif rollout.phase != Phase.PENDING and rollout.stage != Stage.APPROVAL:
        made.insert(0, _act(facts, "pause", "Pause", "pause", "plain", keys="p", allowed=allowed))
    return made


def _holds(rollout: Rollout) -> bool:
    return rollout.phase == Phase.PROGRESSING and rollout.stage == Stage.HOLD


def _menu(facts: Facts, user: AbstractBaseUser | AnonymousUser) -> list[Action]:
    made = []
    if facts.rollout.phase == Phase.PROGRESSING and may(user, OPERATE):
        made.append(_act(facts, "promote-full", "Promote to 100 % now", "chevrons-right", "menu"))
    if facts.old is not None and may(user, UNDO):
        keep = f"Abort, keep {facts.new.label} running"
        made.append(_act(facts, "abort", keep, "octagon-x", "menu"))
    return made


def _after(facts: Facts, user: AbstractBaseUser | AnonymousUser) -> tuple[Action, ...]:
    if not facts.newest:
        return ()
    slug, old = facts.service.slug, facts.old
    if facts.rollout.phase != Phase.SUCCEEDED:
        href = reverse("deploy", args=[slug])
        allowed = may(user, OPERATE)
        return (Action("deploy", "Deploy again", "rocket", href, "primary", "", allowed),)
    if old is None or facts.service.stable_id != facts.new.pk:
        return ()
    href = reverse("version-act", args=[slug, old.number, "return"])
    label = f"Roll back to {old.label}"
    return (Action("return", label, "undo-2", href, "danger", "r", may(user, UNDO)),)


def _undo(facts: Facts, user: AbstractBaseUser | AnonymousUser, label: str = "") -> Action:
    old = facts.old
    words = f"Roll back to {old.label}" if old else f"Stop {facts.new.label}"
    return _act(
        facts, "rollback", label or words, "undo-2", "danger", keys="r", allowed=may(user, UNDO)
    )


def _act(facts: Facts, verb: str, label: str, icon: str, look: str, **more: Any) -> Action:
    href = reverse("rollout-act", args=[facts.rollout.pk, verb])
    return Action(verb, label, icon, href, look, **more)


def may(user: AbstractBaseUser | AnonymousUser, permission: str) -> bool:
    return isinstance(user, PermissionsMixin) and user.has_perm(permission)
