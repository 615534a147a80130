"""Change sets: what would happen to a stack, before anything happens.

Called by the API. A preview evaluates the new template against what exists; a value that only the
update itself will know is shown as KNOWN_AFTER.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fakeaws.cloudformation_schema import fixed_properties, has_attribute, known
from tests.fakeaws.cloudformation_stack import Resource, Stack, Wish
from tests.fakeaws.cloudformation_template import (
    KNOWN_AFTER,
    TemplateWrong,
    in_order,
    names_in,
)
from tests.fakeaws.stack_events import moment

NOTHING = (
    "The submitted information didn't contain changes. "
    "Submit different information to create a change set."
)


@dataclass
class ChangeSet:
    """One change set. It is ready at ``ready_at``, seconds since 1970."""

    name: str
    stack: Stack
    wish: Wish
    kind: str  # CREATE or UPDATE
    ready_at: float
    changes: list[dict[str, Any]]
    description: str | None
    on_failure: str
    capabilities: list[str]
    nothing: bool
    client_token: str | None = None
    arn: str = ""
    created: float = field(default_factory=time.time)
    execution: str = "AVAILABLE"
    token: str | None = None

    def __post_init__(self) -> None:
        where = f"arn:aws:cloudformation:{self.stack.region}:{self.stack.account_id}"
        self.arn = f"{where}:changeSet/{self.name}/{uuid.uuid4()}"

    @property
    def status(self) -> str:
        """CREATE_IN_PROGRESS, then CREATE_COMPLETE or FAILED."""
        if time.time() < self.ready_at:
            return "CREATE_IN_PROGRESS"
        return "FAILED" if self.nothing else "CREATE_COMPLETE"

    @property
    def execution_status(self) -> str:
        """Whether it can be executed, or what came of it."""
        if self.status != "CREATE_COMPLETE":
            return "UNAVAILABLE"
        if self.execution == "EXECUTE_IN_PROGRESS" and not self.stack.busy:
            good = self.stack.status in ("CREATE_COMPLETE", "UPDATE_COMPLETE")
            self.execution = "EXECUTE_COMPLETE" if good else "EXECUTE_FAILED"
        return self.execution

    def summary(self) -> dict[str, Any]:
        """As ListChangeSets gives it."""
        return {
            "ChangeSetName": self.name,
            "ChangeSetId": self.arn,
            "StackId": self.stack.stack_id,
            "StackName": self.stack.name,
            "Status": self.status,
            "StatusReason": NOTHING if self.status == "FAILED" else None,
            "ExecutionStatus": self.execution_status,
            "CreationTime": moment(self.created),
            "Description": self.description,
        }

    def answer(self) -> dict[str, Any]:
        """As DescribeChangeSet gives it."""
        pairs = self.wish.values.items()
        return {
            **self.summary(),
            "Parameters": [{"ParameterKey": k, "ParameterValue": v} for k, v in pairs],
            "Capabilities": self.capabilities,
            "Tags": [{"Key": k, "Value": v} for k, v in self.wish.tags.items()],
            "OnStackFailure": self.on_failure,
            "Changes": self.changes if self.status == "CREATE_COMPLETE" else [],
        }


class Preview:
    """Compares a stack with what somebody wishes it to be. Raises TemplateWrong."""

    def __init__(self, stack: Stack, wish: Wish, exports: Mapping[str, str]) -> None:
        self._stack = stack
        self._living = stack.living()
        self._renewed: set[str] = set()  # resources that will be other ones
        self.scope = stack.scope(wish, exports, self._attribute)
        self.scope.check_rules()
        self.wanted = self.scope.wanted()
        self._order = in_order(self.wanted)
        self._check_outputs()

    def _attribute(self, logical: str, name: str | None) -> Any:
        raw = self.wanted.get(logical) if hasattr(self, "wanted") else None
        if raw is None:
            raise TemplateWrong(
                f"Template format error: Unresolved resource dependencies [{logical}] in the "
                "Resources block of the template"
            )
        if name is not None and known(raw["Type"]) and not has_attribute(raw["Type"], name):
            raise TemplateWrong(
                f"Template error: resource {logical} does not support attribute type {name} "
                "in Fn::GetAtt"
            )
        if logical in self._living and logical not in self._renewed:
            return self._stack.attribute(logical, name)
        return KNOWN_AFTER

    def _check_outputs(self) -> None:
        for slot in (self.scope.parsed.get("Outputs") or {}).values():
            if "Condition" not in slot or self.scope.condition(slot["Condition"]):
                self.scope.value(slot["Value"])

    def changes(self) -> list[dict[str, Any]]:
        """The changes as DescribeChangeSet gives them, in the order of the work."""
        found = [self._change(name, self.wanted[name]) for name in self._order]
        removed = [
            _resource_change("Remove", one)
            for name, one in self._living.items()
            if name not in self.wanted
        ]
        return [change for change in found if change is not None] + removed

    def _change(self, name: str, raw: Mapping[str, Any]) -> dict[str, Any] | None:
        if not known(raw["Type"]):
            raise TemplateWrong(
                f"Template format error: Unrecognized resource types: [{raw['Type']}]"
            )
        props = self.scope.value(raw.get("Properties", {}))
        old = self._living.get(name)
        if old is None:
            return _resource_change("Add", Resource(name, raw["Type"], "", 0))
        changed = sorted(
            k for k in old.props.keys() | props.keys() if old.props.get(k) != props.get(k)
        )
        if not changed:
            return None
        fixed = fixed_properties(old.type)
        sure = [k for k in changed if k in fixed and KNOWN_AFTER not in str(props.get(k))]
        perhaps = [k for k in changed if k in fixed and k not in sure]
        replacement = "True" if sure else "Conditional" if perhaps else "False"
        if sure or perhaps:
            self._renewed.add(name)
        details = [self._detail(k, raw, props, k in fixed) for k in changed]
        return _resource_change(
            "Modify", old, Replacement=replacement, Details=details, Scope=["Properties"]
        )

    def _detail(
        self, name: str, raw: Mapping[str, Any], props: Mapping[str, Any], fixed: bool
    ) -> dict[str, Any]:
        dynamic = KNOWN_AFTER in str(props.get(name))
        used = names_in(raw.get("Properties", {}).get(name))
        slots = set(self.scope.parsed.get("Parameters") or {})
        source, cause = "DirectModification", None
        if dynamic and used & self._renewed:
            source, cause = "ResourceReference", sorted(used & self._renewed)[0]
        elif used & slots:
            source, cause = "ParameterReference", sorted(used & slots)[0]
        recreation = "Never" if not fixed else "Conditionally" if dynamic else "Always"
        return {
            "Target": {"Attribute": "Properties", "Name": name, "RequiresRecreation": recreation},
            "Evaluation": "Dynamic" if dynamic else "Static",
            "ChangeSource": source,
            "CausingEntity": cause,
        }


def _resource_change(action: str, resource: Resource, **more: Any) -> dict[str, Any]:
    return {
        "Type": "Resource",
        "ResourceChange": {
            "Action": action,
            "LogicalResourceId": resource.logical,
            "PhysicalResourceId": resource.physical or None,
            "ResourceType": resource.type,
            "Scope": [],
            "Details": [],
            **more,
        },
    }


def differs(stack: Stack, wish: Wish, changes: list[dict[str, Any]]) -> bool:
    """Whether there is anything to do: to resources, outputs or tags."""
    outputs = [one.parsed.get("Outputs") for one in (stack.wish, wish)]
    return bool(changes) or outputs[0] != outputs[1] or dict(stack.tags) != dict(wish.tags)
