"""What a change set says, as the proposal that a person confirms. PURE; called by ``proposing``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rollouts.stacks.base import Change

ACTIONS = {"Add": "create", "Remove": "delete", "Import": "import", "Dynamic": "change"}
# Where they stand in the list: what may hurt first.
HARM = ("delete", "replace", "change", "import", "create")


def described(changes: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Of each change: action, resource, kind, replacement (yes, no, perhaps) and why."""
    found = [_one(each["ResourceChange"]) for each in changes if "ResourceChange" in each]
    return sorted(found, key=lambda each: (HARM.index(each["action"]), each["resource"]))


def _one(change: Mapping[str, Any]) -> dict[str, str]:
    replacement = {"True": "yes", "Conditional": "perhaps"}.get(
        str(change.get("Replacement", "False")), "no"
    )
    action = ACTIONS.get(change["Action"], "change")
    if change["Action"] == "Modify":
        action = "replace" if replacement == "yes" else "change"
    return {
        "action": action,
        "resource": str(change["LogicalResourceId"]),
        "kind": str(change["ResourceType"]),
        "replacement": replacement,
        "about": _about(change, replacement),
    }


def _about(change: Mapping[str, Any], replacement: str) -> str:
    targets = (detail.get("Target", {}) for detail in change.get("Details", []))
    names = sorted({t.get("Name") or t.get("Attribute", "") for t in targets} - {""})
    said = [", ".join(names)] if names else []
    if replacement == "perhaps":
        said.append("may be replaced")
    return "; ".join(said)


def previewed(proposal: Mapping[str, Any]) -> list[Change]:
    """A stored proposal in the words of the port."""
    return [
        Change(each["action"], each["resource"], each["kind"], each.get("about", ""))
        for each in proposal.get("changes", [])
    ]


def kinds_after(
    existing: Iterable[Mapping[str, Any]], changes: Iterable[Mapping[str, str]]
) -> dict[str, str]:
    """Kind by logical id of everything that the stack would have."""
    kinds = {
        str(each["LogicalResourceId"]): str(each["ResourceType"])
        for each in existing
        if each.get("ResourceStatus") != "DELETE_COMPLETE"
    }
    for change in changes:
        if change["action"] == "delete":
            kinds.pop(change["resource"], None)
        else:
            kinds[change["resource"]] = change["kind"]
    return kinds
