"""What a stack's proposal, drift and failure say, as values that the stack page prints.

Pure over the JSON columns of a Stack row, which the provisioner writes. Used by ``web.stacks``.
Whatever is missing in a column is left out: an older worker may have written it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rollouts.models import Stack

CURRENCIES = {"USD": "$", "EUR": "€"}
# CloudFormation's words; (status, what is so, what can be done), of a stack that failed.
WAYS_OUT: Mapping[str, tuple[str, str]] = {
    "ROLLBACK_COMPLETE": (
        "It could not be created, and what was made is gone again.",
        "Correct the cause, then work out the changes and create it again. The empty "
        "remainder on AWS is removed first.",
    ),
    "ROLLBACK_FAILED": (
        "It could not be created, and not all that was made could be removed.",
        "Destroy it: what is left is listed then.",
    ),
    "CREATE_FAILED": (
        "It could not be created, and what was made is still there.",
        "Destroy it, correct the cause, then create it again.",
    ),
    "UPDATE_ROLLBACK_COMPLETE": (
        "The update failed and was undone: the stack is as it was before.",
        "Correct the cause, then work out the changes again.",
    ),
    "UPDATE_ROLLBACK_FAILED": (
        "The update failed, and it could not be undone.",
        "Correct what the undoing stumbled over, then continue the rollback.",
    ),
    "DELETE_FAILED": (
        "Not everything could be removed.",
        "Remove what holds the resources below and destroy again, or leave them behind.",
    ),
}


@dataclass(frozen=True)
class Item:
    """One resource that would change. ``note``: what else is known, as the properties."""

    resource: str
    kind: str
    note: str = ""


@dataclass(frozen=True)
class Group:
    """Resources with the same fate. ``kind``: create, change, maybe, replace or remove."""

    kind: str
    title: str
    note: str
    items: Sequence[Item]


@dataclass(frozen=True)
class Cost:
    """About what it costs. ``lines``: what and how much a month, in words."""

    lines: Sequence[tuple[str, str]]
    total: str
    note: str


@dataclass(frozen=True)
class Proposal:
    """What applying would do. ``change_set``: empty when it cannot be applied."""

    change_set: str
    groups: Sequence[Group]
    count: int
    cost: Cost | None
    problems: Sequence[str]
    nothing: bool

    @property
    def counted(self) -> str:
        """ "replace 2, create 12"."""
        return ", ".join(f"{VERBS[g.kind]} {len(g.items)}" for g in self.groups)

    @property
    def dangerous(self) -> bool:
        return any(group.kind in ("replace", "remove") for group in self.groups)


VERBS = {
    "replace": "replace",
    "remove": "remove",
    "maybe": "perhaps replace",
    "change": "change",
    "create": "create",
}
FATES: Sequence[tuple[str, str, str]] = [
    (
        "replace",
        "Replaced",
        "AWS makes a new one and removes the old one: what it holds is lost, its address changes.",
    ),
    ("remove", "Removed", "What it holds is lost."),
    ("maybe", "Perhaps replaced", "AWS knows only while it does it; count on a new one."),
    ("change", "Changed in place", ""),
    ("create", "Created", ""),
]


def proposal_of(stack: Stack) -> Proposal | None:
    """The proposal of a stack, what hurts most first; None when there is none."""
    told: Mapping[str, Any] = stack.proposal
    if not told:
        return None
    sorted_: dict[str, list[Item]] = {}
    for change in told.get("changes") or ():
        sorted_.setdefault(_fate(change), []).append(_item(change))
    problems = [_problem(problem) for problem in told.get("problems") or ()]
    groups = [Group(k, title, note, sorted_[k]) for k, title, note in FATES if k in sorted_]
    return Proposal(
        change_set=str(told.get("change_set") or ""),
        groups=groups,
        count=sum(len(group.items) for group in groups),
        cost=_cost(told.get("cost") or {}),
        problems=problems,
        nothing=bool(told.get("nothing")) or not (groups or problems),
    )


def _fate(change: Mapping[str, Any]) -> str:
    action = str(change.get("action", "")).lower()
    replacement = str(change.get("replacement") or "").lower()
    if action in ("remove", "delete"):
        return "remove"
    if action == "replace" or replacement in ("yes", "true"):
        return "replace"
    if replacement in ("perhaps", "conditional"):
        return "maybe"
    return "create" if action in ("add", "create", "import") else "change"


def _item(change: Mapping[str, Any]) -> Item:
    details = change.get("about") or change.get("details") or ""
    note = details if isinstance(details, str) else ", ".join(str(d) for d in details)
    return Item(str(change.get("resource", "")), str(change.get("kind", "")), note)


def _problem(problem: object) -> str:
    if isinstance(problem, Mapping):
        where, text = problem.get("resource", ""), problem.get("text") or problem.get("reason", "")
        return f"{where}: {text}" if where else str(text)
    return str(problem)


def _cost(told: Mapping[str, Any]) -> Cost | None:
    if told.get("total") is None:
        return None
    currency = str(told.get("currency") or "USD")
    lines = [
        (str(line.get("what", "")), money(line.get("monthly"), currency))
        for line in told.get("lines") or ()
    ]
    return Cost(lines, money(told["total"], currency), str(told.get("note") or ""))


def money(amount: object, currency: str) -> str:
    """ "$33.00"; "—" for what is not a number."""
    try:
        value = float(str(amount))
    except ValueError:
        return "—"
    sign = CURRENCIES.get(currency)
    return f"{sign}{value:,.2f}" if sign else f"{value:,.2f} {currency}"


# --- drift

DRIFTED = {"MODIFIED": "changed", "DELETED": "deleted", "NOT_CHECKED": "not checked"}


@dataclass(frozen=True)
class Differing:
    """A resource that is not as the template says. ``differences``: path, expected, actual."""

    resource: str
    kind: str
    word: str
    differences: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Drift:
    """``state``: asked, unknown, problem, same or differs. ``moved``: by meshui, as it should."""

    state: str
    problem: str = ""
    resources: Sequence[Differing] = ()
    moved: Sequence[str] = ()


def drift_of(stack: Stack) -> Drift:
    told: Mapping[str, Any] = stack.drift
    if stack.drift_asked:
        return Drift("asked")
    if told.get("problem"):
        return Drift("problem", str(told["problem"]))
    if not told:
        return Drift("unknown")
    found = [_differing(resource) for resource in told.get("resources") or ()]
    found = [resource for resource in found if resource.word != "the same"]
    same = str(told.get("status", "")).upper() == "IN_SYNC" and not found
    moved = [str(each.get("resource", "")) for each in told.get("moved") or ()]
    return Drift("same" if same else "differs", resources=found, moved=moved)


def _differing(resource: Mapping[str, Any]) -> Differing:
    status = str(resource.get("status", ""))
    differences = [
        (str(d.get("path", "")), _text(d.get("expected")), _text(d.get("actual")))
        for d in resource.get("differences") or ()
    ]
    word = "the same" if status == "IN_SYNC" else DRIFTED.get(status, status.lower())
    return Differing(
        str(resource.get("resource", "")), str(resource.get("kind", "")), word, differences
    )


def _text(value: object) -> str:
    return "—" if value in (None, "") else str(value)


# --- failure


def status_of(stack: Stack) -> str:
    """CloudFormation's own status, where the provisioner told it."""
    return str(stack.operation.get("status") or "")


def survivors_of(stack: Stack) -> list[Item]:
    """Resources that could not be removed, with why."""
    items = []
    for survivor in stack.operation.get("survivors") or ():
        told = survivor if isinstance(survivor, Mapping) else {"resource": survivor}
        resource, kind = str(told.get("resource", "")), str(told.get("kind", ""))
        items.append(Item(resource, kind, str(told.get("reason", ""))))
    return [item for item in items if item.resource]
