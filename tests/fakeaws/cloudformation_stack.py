"""A stack and its resources: what is true of it now. The work that changes it is elsewhere.

Called by the work, change sets, drift and the API.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fakeaws.cloudformation_client import Calls
from tests.fakeaws.cloudformation_kinds import Made, Place, Props
from tests.fakeaws.cloudformation_schema import has_attribute
from tests.fakeaws.cloudformation_template import (
    Attribute,
    Scope,
    TemplateWrong,
    parameters,
    parse,
    typed,
)
from tests.fakeaws.stack_events import STACK_TYPE, Clockwork, Log, seconds_per_step


@dataclass
class Resource:
    """A resource of a stack. ``made`` is None until it exists."""

    logical: str
    type: str
    status: str
    at: float
    made: Made | None = None
    props: Props = field(default_factory=dict)
    needs: set[str] = field(default_factory=set)
    reason: str | None = None
    deletion_policy: str = "Delete"
    replace_policy: str = "Delete"
    seen: dict[str, Any] | None = None  # what the kind's ``look`` gave when the work ended
    drift: dict[str, Any] | None = None

    @property
    def physical(self) -> str:
        """What ``Ref`` gives, empty before there is something."""
        return self.made.physical if self.made else ""

    @property
    def living(self) -> bool:
        """True while something of it exists that the stack answers for."""
        return self.made is not None and self.status not in ("DELETE_COMPLETE", "DELETE_SKIPPED")


@dataclass(frozen=True)
class Wish:
    """What somebody asks a stack to be. Parameters are text, as given."""

    body: str
    given: Mapping[str, str]
    tags: Mapping[str, str]

    @property
    def parsed(self) -> dict[str, Any]:
        """The template as a mapping. Raises TemplateWrong."""
        return parse(self.body)

    @property
    def values(self) -> dict[str, str]:
        """Every parameter's text, defaults included. Raises TemplateWrong."""
        return parameters(self.parsed, self.given)


@dataclass
class Output:
    """An output, with the name it is exported by, if any."""

    key: str
    value: str
    description: str | None
    export: str | None


class Stack:
    """One stack of one account and region."""

    def __init__(self, name: str, account: str, region: str, wish: Wish) -> None:
        self.name = name
        self.account_id = account
        self.region = region
        partition = "arn:aws:cloudformation"
        self.stack_id = f"{partition}:{region}:{account}:stack/{name}/{uuid.uuid4()}"
        self.call = Calls(account, region)
        self.wish = wish
        self.status = "REVIEW_IN_PROGRESS"
        self.reason: str | None = None
        self.resources: dict[str, Resource] = {}
        self.outputs: list[Output] = []
        self.log = Log(self.stack_id)
        self.work: Clockwork | None = None
        self.token: str | None = None
        self.cancelled = False
        self.unwound: list[Any] = []  # what a failed rollback has still to undo
        self.surplus: list[Resource] = []  # what a rollback has still to remove
        self.protected = False
        self.disable_rollback = False
        self.drift_status = "NOT_CHECKED"
        self.drift_at: float | None = None
        self.created = time.time()
        self.updated: float | None = None
        self.deleted: float | None = None

    @property
    def tags(self) -> Mapping[str, str]:
        """The stack's tags, which each of its resources gets."""
        return self.wish.tags

    @property
    def busy(self) -> bool:
        """True while work goes on, so that no other may begin."""
        return self.work is not None and not self.work.done

    @property
    def waits(self) -> bool:
        """True if its resources take time; else nobody waits for tasks to come and go."""
        return seconds_per_step() > 0

    def now(self) -> float:
        """The time of the step that runs, else the clock's."""
        return self.work.due if self.work and not self.work.done else time.time()

    def say(self, status: str, reason: str | None = None) -> None:
        """Give the stack itself a status, and write it into the log."""
        self.status, self.reason = status, reason
        self.log.add(
            self.name,
            self.stack_id,
            STACK_TYPE,
            status,
            reason=reason,
            token=self.token,
            at=self.now(),
        )

    def tell(self, resource: Resource, status: str, reason: str | None = None) -> None:
        """Give one resource a status, and write it into the log."""
        resource.status, resource.reason, resource.at = status, reason, self.now()
        self.log.add(
            resource.logical,
            resource.physical,
            resource.type,
            status,
            reason=reason,
            token=self.token,
            at=resource.at,
        )

    def place(self, logical: str) -> Place:
        """Where a resource of this stack belongs."""
        return Place(self.name, logical, dict(self.tags))

    def attribute(self, logical: str, name: str | None) -> Any:
        """Ref (name None) or GetAtt of a resource that exists. Raises TemplateWrong."""
        resource = self.resources.get(logical)
        if resource is None or resource.made is None:
            raise TemplateWrong(
                f"Template format error: Unresolved resource dependencies [{logical}] in the "
                "Resources block of the template"
            )
        if name is None:
            return resource.physical
        given = resource.made.attributes
        if name in given:
            return given[name]
        if name in resource.props and has_attribute(resource.type, name):
            return resource.props[name]
        raise TemplateWrong(
            f"Template error: resource {logical} does not support attribute type {name} "
            "in Fn::GetAtt"
        )

    def scope(
        self, wish: Wish, exports: Mapping[str, str], attribute: Attribute | None = None
    ) -> Scope:
        """What evaluates a template for this stack. Raises TemplateWrong."""
        parsed = wish.parsed
        refs: dict[str, Any] = {
            "AWS::Region": self.region,
            "AWS::AccountId": self.account_id,
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::StackName": self.name,
            "AWS::StackId": self.stack_id,
            "AWS::NotificationARNs": [],
            **typed(parsed, wish.values, self.call),
        }
        return Scope(parsed, refs, attribute or self.attribute, exports)

    def living(self) -> dict[str, Resource]:
        """The resources that exist."""
        return {name: one for name, one in self.resources.items() if one.living}
