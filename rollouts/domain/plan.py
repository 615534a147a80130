"""Plans: the steps by which traffic moves to a new version.

Read by forms, actions and ``decide``. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rollouts.errors import InvalidPlan

OnTimeout = Literal["rollback", "promote", "wait"]
MAX_STEPS = 100
MAX_HOLD_S = 7 * 24 * 3600


@dataclass(frozen=True)
class Step:
    """One step: a weight, then a hold or a wait for approval.

    ``weight`` percent of requests for the new version, 0–100. ``hold_s`` seconds to stay there once
    every proxy has confirmed it. ``approval`` waits for a person; after ``timeout_s`` seconds
    (None: for ever) ``on_timeout`` happens.
    """

    weight: int
    hold_s: int = 0
    approval: bool = False
    timeout_s: int | None = None
    on_timeout: OnTimeout = "rollback"


Plan = tuple[Step, ...]


@dataclass(frozen=True)
class Preset:
    key: str
    name: str
    about: str
    steps: Plan


PRESETS: Mapping[str, Preset] = {
    p.key: p
    for p in (
        Preset(
            "half",
            "Half, then all",
            "50 % for a minute, then 100 %.",
            (Step(50, hold_s=60), Step(100)),
        ),
        Preset(
            "canary",
            "Canary",
            "5, 25 and 50 % for a minute each, then 100 %.",
            (Step(5, 60), Step(25, 60), Step(50, 60), Step(100)),
        ),
        Preset(
            "linear",
            "Linear, 10 % a step",
            "10 % more every 30 seconds.",
            (*(Step(weight, 30) for weight in range(10, 100, 10)), Step(100)),
        ),
        Preset("all", "All at once", "100 % as soon as every task is healthy.", (Step(100),)),
        Preset(
            "blue-green",
            "Blue/green, preview at 0 %",
            "Starts at 0 % and waits for approval, at most an hour, then 100 %.",
            (Step(0, approval=True, timeout_s=3600), Step(100)),
        ),
    )
}
DEFAULT_PRESET = "half"
ALL_AT_ONCE: Plan = PRESETS["all"].steps

_STEP = re.compile(
    r"(?P<weight>[0-9]{1,3}) ?%?(?: ?: ?(?P<wait>approval|[0-9]{1,9} ?[smh]?))?", re.A
)
_UNIT = {"": 1, "s": 1, "m": 60, "h": 3600}


def check(steps: Sequence[Step]) -> Plan:
    """Return the steps as a plan, or raise InvalidPlan with a sentence naming the step."""
    if not 1 <= len(steps) <= MAX_STEPS:
        raise InvalidPlan("plan", f"A plan has 1 to {MAX_STEPS} steps, this one has {len(steps)}.")
    for number, step in enumerate(steps, 1):
        _check_step(number, step)
    return tuple(steps)


def _check_step(number: int, step: Step) -> None:
    if not _whole(step.weight) or not 0 <= step.weight <= 100:
        raise InvalidPlan("plan", f"Step {number}: the weight must be a whole number, 0 to 100.")
    if not _whole(step.hold_s) or not 0 <= step.hold_s <= MAX_HOLD_S:
        raise InvalidPlan("plan", f"Step {number}: the hold must be 0 to {MAX_HOLD_S} seconds.")
    if not isinstance(step.approval, bool):
        raise InvalidPlan("plan", f"Step {number}: approval is true or false.")
    _check_approval(number, step)


def _check_approval(number: int, step: Step) -> None:
    """What a step could only ignore is refused: never a silent no-op."""
    if step.approval and step.hold_s:
        raise InvalidPlan("plan", f"Step {number}: choose a hold or an approval, not both.")
    if not step.approval and step.timeout_s is not None:
        raise InvalidPlan("plan", f"Step {number}: only an approval has a time-out.")
    if step.timeout_s is not None and not (
        _whole(step.timeout_s) and 1 <= step.timeout_s <= MAX_HOLD_S
    ):
        raise InvalidPlan("plan", f"Step {number}: the time-out must be 1 to {MAX_HOLD_S} seconds.")
    if step.on_timeout not in ("rollback", "promote", "wait"):
        raise InvalidPlan("plan", f"Step {number}: on time-out, choose rollback, promote or wait.")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def parse(text: str) -> Plan:
    """Read ``"5:60s, 25:10m, 50:approval, 100"``; raises InvalidPlan."""
    if len(text) > 4000:
        raise InvalidPlan("plan", "The plan is longer than 4,000 characters.")
    steps = []
    for number, part in enumerate(text.split(","), 1):
        match = _STEP.fullmatch(part.strip())
        if match is None:
            raise InvalidPlan(
                "plan", f"Step {number}: write weight:hold, as in 50:60s or 50:approval or 100."
            )
        steps.append(_step(match["weight"], match["wait"] or ""))
    return check(steps)


def _step(weight: str, wait: str) -> Step:
    if wait == "approval":
        return Step(int(weight), approval=True)
    number = wait.rstrip("smh ") or "0"
    return Step(int(weight), hold_s=int(number) * _UNIT[wait[len(number) :].strip()])


def text(plan: Plan) -> str:
    """The inverse of ``parse`` (an approval's time-out is not part of the short form)."""
    return ", ".join(
        f"{s.weight}:approval"
        if s.approval
        else f"{s.weight}:{s.hold_s}s"
        if s.hold_s
        else f"{s.weight}"
        for s in plan
    )


def to_json(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "weight": s.weight,
            "hold_s": s.hold_s,
            "approval": s.approval,
            "timeout_s": s.timeout_s,
            "on_timeout": s.on_timeout,
        }
        for s in plan
    ]


def from_json(rows: object) -> Plan:
    """Read what ``to_json`` wrote, or what a person put into the API; raises InvalidPlan."""
    if not isinstance(rows, list):
        raise InvalidPlan("plan", "A plan is a list of steps.")
    steps = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or set(row) - set(Step.__dataclass_fields__):
            raise InvalidPlan(
                "plan", f"Step {number}: only {', '.join(Step.__dataclass_fields__)}."
            )
        if "weight" not in row:
            raise InvalidPlan("plan", f"Step {number}: the weight is missing.")
        steps.append(Step(**row))
    return check(steps)
