"""What the fake CloudFormation can make: one entry per kind of resource.

Called by the stacks' work and by drift detection. A kind that is not here cannot be made and the
stack fails, instead of skipping it in silence.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.fakeaws.cloudformation_client import Calls, Refused, is_missing

Props = dict[str, Any]
_LETTERS = string.ascii_uppercase + string.digits


@dataclass(frozen=True)
class Made:
    """A resource that exists: what ``Ref`` gives, and what ``GetAtt`` gives by name."""

    physical: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a resource belongs: its stack, its name in the template, the stack's tags."""

    stack: str
    logical: str
    tags: Mapping[str, str]

    def name(self, limit: int = 128) -> str:
        """A name that nobody else has, of at most ``limit`` characters."""
        tail = "".join(secrets.choice(_LETTERS) for _ in range(12))
        return f"{self.stack}-{self.logical}"[: limit - 13].rstrip("-") + f"-{tail}"

    def tagged(self, own: list[dict[str, str]] | None) -> list[dict[str, str]]:
        """The resource's own tags and the stack's, the own ones first."""
        mine = {tag["Key"]: str(tag["Value"]) for tag in own or []}
        return [{"Key": k, "Value": v} for k, v in {**self.tags, **mine}.items()]

    def lower_tags(self, own: list[dict[str, str]] | None) -> list[dict[str, str]]:
        """The same, as ECS, App Mesh and CodeBuild spell it."""
        return [{"key": tag["Key"], "value": tag["Value"]} for tag in self.tagged(own)]


class Kind:
    """One kind of resource. ``create`` and ``delete`` are its own; the rest has a default."""

    type: ClassVar[str]

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        """Make it. Raises Refused."""
        raise NotImplementedError

    def complete(self, call: Calls, place: Place, made: Made, props: Props) -> None:
        """What is left to do once it exists; if this is refused, the thing is removed again."""

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        """Change it in place. Raises Refused."""
        changed = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
        raise Refused(f"This fake cannot change {', '.join(changed)} of {self.type} in place")

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        """Remove it; fine if it is gone already. Raises Refused."""
        raise NotImplementedError

    def settled(self, call: Calls, made: Made, props: Props) -> bool:
        """False while a made or changed thing is still on its way. Raises Refused if it failed."""
        return True

    def drained(self, call: Calls, made: Made, props: Props) -> bool:
        """False while something is left of a removed thing."""
        return True

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        """What of it can be changed from outside, as the template spells it; None if it is gone."""
        return {}


def looked(call: Calls, service: str, operation: str, /, **values: Any) -> dict[str, Any] | None:
    """The answer of a describe call, None if the thing does not exist."""
    try:
        return call(service, operation, **values)
    except Refused as refused:
        if is_missing(refused):
            return None
        raise


def only(props: Props, *names: str) -> Props:
    """Those of the properties that have these names."""
    return {name: props[name] for name in names if name in props}


def without(props: Props, *names: str) -> Props:
    """The properties that have none of these names."""
    return {name: value for name, value in props.items() if name not in names}
