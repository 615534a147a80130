"""What the provisioner asks of CloudFormation, one function or property per call.

Called by the steps, ``proposing`` to ``drifting``. It decides nothing.
Everything goes through ``rollouts.aws``, and raises AwsError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings

from rollouts import aws
from rollouts.errors import AwsGone
from rollouts.models import Stack
from rollouts.stacks.base import Line

ORDER = ("infra", "mesh", "app")  # each needs the outputs of those before it
STACK = "AWS::CloudFormation::Stack"
EVENT_PAGES = 20  # of 100 events each; a stack of ours has some 60 resources
CANCELLED = "Resource creation cancelled"


@dataclass(frozen=True)
class There:
    """A stack as CloudFormation has it."""

    id: str
    status: str
    reason: str
    outputs: Mapping[str, str]
    protected: bool

    @property
    def busy(self) -> bool:
        """Something is under way; a change set that waits for a person is nothing of that kind."""
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"

    @property
    def complete(self) -> bool:
        """It is there as its template says, be it the one before a failed update."""
        return self.status.endswith("_COMPLETE") and self.status not in (
            "ROLLBACK_COMPLETE",
            "DELETE_COMPLETE",
        )


@dataclass(frozen=True)
class Happened:
    """One event of a stack."""

    id: str
    at: datetime
    logical: str
    kind: str
    status: str
    reason: str
    of_stack: bool

    @property
    def line(self) -> Line:
        return Line(self.logical, self.kind, _short(self.status), self.reason, uid=self.id,
                    at=self.at)  # fmt: skip

    @property
    def ends(self) -> bool:
        """The stack itself has come to rest."""
        return self.of_stack and not self.status.endswith("_IN_PROGRESS")

    @property
    def broke(self) -> bool:
        """This is why the operation fails, not a consequence of it."""
        return self.status.endswith("_FAILED") and CANCELLED not in self.reason


class Cloud:
    """CloudFormation as the mesh of one stack reaches it."""

    def __init__(self, stack: Stack) -> None:
        self.name = f"{stack.mesh.slug}-{stack.name}"
        self.account = aws.account_of(stack.mesh.settings)

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return aws.call(self.account, "cloudformation", operation, **arguments)

    def there(self, stack_id: str = "") -> There | None:
        """The stack, or None. Only by its id is a deleted one still told."""
        try:
            (found,) = self._call("describe_stacks", StackName=stack_id or self.name)["Stacks"]
        except AwsGone:
            return None
        return There(
            id=found["StackId"],
            status=found["StackStatus"],
            reason=found.get("StackStatusReason", ""),
            outputs={o["OutputKey"]: o["OutputValue"] for o in found.get("Outputs", [])},
            protected=bool(found.get("EnableTerminationProtection", False)),
        )

    def events(self, stack_id: str, seen: str) -> list[Happened]:
        """Everything after the event ``seen``, oldest first; pages back no further than that."""
        found: list[Happened] = []
        token: dict[str, str] = {}
        for _ in range(EVENT_PAGES):
            page = self._call("describe_stack_events", StackName=stack_id, **token)
            for event in page["StackEvents"]:
                if event["EventId"] == seen:
                    return found[::-1]
                found.append(_happened(event))
            if not page.get("NextToken"):
                break
            token = {"NextToken": page["NextToken"]}
        return found[::-1]

    def propose(self, name: str, token: str, *, create: bool, parameters: list[dict[str, str]],
                tags: Mapping[str, str], body: str) -> None:  # fmt: skip
        """Ask for a change set; it is worked out meanwhile."""
        self._call(
            "create_change_set",
            StackName=self.name,
            ChangeSetName=name,
            ChangeSetType="CREATE" if create else "UPDATE",
            ClientToken=token,
            TemplateBody=body,
            Parameters=parameters,
            Capabilities=["CAPABILITY_IAM"],
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        )

    def change_set(self, name: str) -> dict[str, Any] | None:
        """The change set by name or ARN, with the changes of all its pages; None: there is none."""
        try:
            found = self._call("describe_change_set", StackName=self.name, ChangeSetName=name)
            token = found.get("NextToken")
            while token:
                page = self._call("describe_change_set", StackName=self.name, ChangeSetName=name,
                                  NextToken=token)  # fmt: skip
                found["Changes"] += page["Changes"]
                token = page.get("NextToken")
        except AwsGone:
            return None
        return found

    def drop_change_set(self, name: str) -> None:
        self._call("delete_change_set", StackName=self.name, ChangeSetName=name)

    def execute(self, change_set: str, token: str) -> None:
        self._call("execute_change_set", StackName=self.name, ChangeSetName=change_set,
                   ClientRequestToken=token)  # fmt: skip

    def go_on(self, token: str) -> None:
        """Continue a rollback that failed."""
        self._call("continue_update_rollback", StackName=self.name, ClientRequestToken=token)

    def delete(self, stack_id: str, token: str, retain: Sequence[str] = ()) -> None:
        """``retain``: only allowed when a deletion has failed."""
        kept = {"RetainResources": list(retain)} if retain else {}
        self._call("delete_stack", StackName=stack_id, ClientRequestToken=token, **kept)

    def protect(self, *, on: bool) -> None:
        self._call("update_termination_protection", StackName=self.name,
                   EnableTerminationProtection=on)  # fmt: skip

    def resources(self, stack_id: str = "") -> list[dict[str, Any]]:
        """What the stack has: LogicalResourceId, ResourceType, PhysicalResourceId, status."""
        name = stack_id or self.name
        found: list[Any] = aws.pages(self.account, "cloudformation", "list_stack_resources",
                                     "StackResourceSummaries", StackName=name)  # fmt: skip
        return found

    def detect_drift(self) -> str:
        return str(self._call("detect_stack_drift", StackName=self.name)["StackDriftDetectionId"])

    def drift_status(self, detection: str) -> dict[str, Any]:
        return self._call("describe_stack_drift_detection_status", StackDriftDetectionId=detection)

    def drifts(self) -> list[dict[str, Any]]:
        """Resources that differ from the template, or are gone."""
        found: list[dict[str, Any]] = []
        token: dict[str, str] = {}
        while True:
            page = self._call("describe_stack_resource_drifts", StackName=self.name,
                              StackResourceDriftStatusFilters=["MODIFIED", "DELETED"],
                              **token)  # fmt: skip
            found += page["StackResourceDrifts"]
            if not page.get("NextToken"):
                return found
            token = {"NextToken": page["NextToken"]}


def template_of(name: str) -> str:
    """The text of the template of the stack ``infra``, ``mesh`` or ``app``."""
    folder: Path = settings.BASE_DIR / "templates" / "cloudformation"
    return (folder / f"{name}.yaml").read_text()


def later(stack: Stack) -> list[Stack]:
    """Stacks of the mesh that were made on top of this one and are still there, last first."""
    names = ORDER[ORDER.index(stack.name) + 1 :]
    found = Stack.objects.filter(mesh=stack.mesh, name__in=names).exclude(phase="absent")
    return sorted(found, key=lambda each: ORDER.index(each.name), reverse=True)


def _short(status: str) -> str:
    """At most 40 characters, as a row holds them; one of AWS's words is longer."""
    return status.replace("_COMPLETE_CLEANUP_", "_CLEANUP_")


def _happened(event: Mapping[str, Any]) -> Happened:
    stack_itself = event.get("PhysicalResourceId") == event["StackId"]
    return Happened(
        id=event["EventId"],
        at=event["Timestamp"],
        logical=event.get("LogicalResourceId", ""),
        kind=event.get("ResourceType", ""),
        status=event.get("ResourceStatus", ""),
        reason=event.get("ResourceStatusReason", ""),
        of_stack=stack_itself and event.get("ResourceType") == STACK,
    )
