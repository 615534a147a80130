"""The verbs of the fake CloudFormation, on one account and region.

Called by the moto responses in cloudformation.py, under one lock and after every stack's work was
brought up to the clock. It knows stacks and change sets, not how requests look.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from moto.cloudformation.exceptions import CloudFormationError

from tests.fakeaws import cloudformation_work as work
from tests.fakeaws.cloudformation_changes import ChangeSet, Preview, differs
from tests.fakeaws.cloudformation_stack import Stack, Wish
from tests.fakeaws.cloudformation_template import TemplateWrong, parameters, parse
from tests.fakeaws.drift import Detection
from tests.fakeaws.stack_events import Clockwork, Steps, seconds_per_step

READY_FOR_UPDATE = (
    "CREATE_COMPLETE",
    "UPDATE_COMPLETE",
    "UPDATE_ROLLBACK_COMPLETE",
    "IMPORT_COMPLETE",
    "UPDATE_FAILED",
)
_NAMES = ("RoleName", "GroupName", "InstanceProfileName", "ManagedPolicyName", "UserName")


def error(code: str, message: str) -> CloudFormationError:
    """One of CloudFormation's errors."""
    return CloudFormationError(code, message)


def invalid(message: str) -> CloudFormationError:
    """The error that CloudFormation gives for nearly everything."""
    return error("ValidationError", message)


class Account:
    """Every stack of one account and region. Lives in moto's backend, so that a reset ends it."""

    def __init__(self, account: str, region: str) -> None:
        self.account = account
        self.region = region
        self.stacks: list[Stack] = []  # oldest first, deleted ones too
        self.change_sets: list[ChangeSet] = []
        self.detections: dict[str, Detection] = {}

    def advance(self) -> None:
        """Bring the work on every stack up to the clock."""
        for stack in self.stacks:
            if stack.work is not None:
                stack.work.advance(time.time())

    def exports(self) -> dict[str, str]:
        """What stacks export, by name."""
        return {
            output.export: output.value
            for stack in self.stacks
            for output in stack.outputs
            if output.export is not None
        }

    def find(self, name_or_id: str) -> Stack:
        """A stack by its name, or by its id even if it is deleted. Raises ValidationError."""
        for stack in reversed(self.stacks):
            if stack.stack_id == name_or_id:
                return stack
            if stack.name == name_or_id and stack.status != "DELETE_COMPLETE":
                return stack
        raise invalid(f"Stack with id {name_or_id} does not exist")

    def named(self, name_or_id: str) -> Stack | None:
        """A stack that is not deleted, None if there is none."""
        for stack in self.stacks:
            if name_or_id in (stack.name, stack.stack_id) and stack.status != "DELETE_COMPLETE":
                return stack
        return None

    # --- change sets

    def change_set(self, name: str, stack_name: str | None) -> ChangeSet:
        """A change set by its ARN, or by its name and its stack's. Raises ChangeSetNotFound."""
        for change_set in reversed(self.change_sets):
            stack = change_set.stack
            owned = stack_name is None or stack_name in (stack.name, stack.stack_id)
            if change_set.arn == name or (change_set.name == name and owned):
                return change_set
        raise error("ChangeSetNotFoundException", f"ChangeSet [{name}] does not exist")

    def _stack_for(self, kind: str, name: str, wish: Wish) -> Stack:
        """The stack that a change set is for; one under review is made for CREATE."""
        stack = self.named(name)
        if kind == "UPDATE":
            if stack is None:
                raise invalid(f"Stack [{name}] does not exist")
            if stack.status not in READY_FOR_UPDATE:
                raise _wrong_state(stack, "updated")
            return stack
        if stack is not None and stack.status != "REVIEW_IN_PROGRESS":
            raise invalid(
                f"Stack [{name}] already exists and cannot be created again with the "
                f"changeSet [{name}]."
            )
        return stack or Stack(name, self.account, self.region, wish)

    def make_change_set(
        self,
        name: str,
        stack_name: str,
        kind: str,
        wish: Wish,
        *,
        description: str | None,
        on_failure: str,
        capabilities: list[str],
        client_token: str | None = None,
    ) -> ChangeSet:
        """Compare, and remember what was found. Raises ValidationError and its like."""
        stack = self._stack_for(kind, stack_name, wish)
        known = [one for one in self.change_sets if one.name == name and one.stack is stack]
        if known and client_token is not None and known[0].client_token == client_token:
            return known[0]
        if known:
            raise error("AlreadyExistsException", f"ChangeSet {name} already exists")
        _check_capabilities(wish, capabilities)
        try:
            changes = Preview(stack, wish, self.exports()).changes()
        except TemplateWrong as wrong:
            raise invalid(str(wrong)) from wrong
        if stack not in self.stacks:
            stack.say("REVIEW_IN_PROGRESS", "User Initiated")
            self.stacks.append(stack)
        change_set = ChangeSet(
            name,
            stack,
            wish,
            kind,
            time.time() + seconds_per_step(),
            changes,
            description,
            on_failure,
            capabilities,
            kind == "UPDATE" and not differs(stack, wish, changes),
            client_token,
        )
        self.change_sets.append(change_set)
        return change_set

    def execute(self, change_set: ChangeSet, token: str | None, *, disable_rollback: bool) -> None:
        """Begin the work that a change set describes; harmless with the same token again."""
        if token is not None and change_set.token == token:
            return
        if change_set.status != "CREATE_COMPLETE" or change_set.execution_status != "AVAILABLE":
            state = change_set.status
            if state == "CREATE_COMPLETE":
                state = change_set.execution_status
            raise error(
                "InvalidChangeSetStatusException",
                f"ChangeSet [{change_set.arn}] cannot be executed in its current status of "
                f"[{state}]",
            )
        stack = change_set.stack
        for other in self.change_sets:
            if other.stack is stack and other.execution == "AVAILABLE":
                other.execution = "OBSOLETE"
        change_set.execution, change_set.token = "EXECUTE_IN_PROGRESS", token
        mode = "DO_NOTHING" if disable_rollback else change_set.on_failure
        steps = work.create if change_set.kind == "CREATE" else work.update
        self.begin(stack, steps(stack, change_set.wish, self.exports, mode), token)

    # --- stacks

    def begin(self, stack: Stack, steps: Steps, token: str | None) -> None:
        """Start work, and do what is due at once. Raises ValidationError if the stack is busy."""
        if stack.busy:
            raise _wrong_state(stack, "updated")
        stack.token = token
        stack.work = Clockwork(steps, pace=seconds_per_step())
        stack.work.advance(time.time())

    def create(
        self, name: str, wish: Wish, mode: str, token: str | None, capabilities: list[str]
    ) -> Stack:
        """Make a stack without a change set."""
        there = self.named(name)
        if there is not None and _repeated(there, token):
            return there
        if there is not None:
            raise error("AlreadyExistsException", f"Stack [{name}] already exists")
        _check_capabilities(wish, capabilities)
        stack = Stack(name, self.account, self.region, wish)
        try:
            Preview(stack, wish, self.exports()).changes()
        except TemplateWrong as wrong:
            raise invalid(str(wrong)) from wrong
        self.stacks.append(stack)
        self.begin(stack, work.create(stack, wish, self.exports, mode), token)
        return stack

    def update(
        self, stack: Stack, wish: Wish, mode: str, token: str | None, capabilities: list[str]
    ) -> None:
        """Change a stack without a change set."""
        if _repeated(stack, token):
            return
        if stack.status not in READY_FOR_UPDATE:
            raise _wrong_state(stack, "updated")
        _check_capabilities(wish, capabilities)
        try:
            changes = Preview(stack, wish, self.exports()).changes()
        except TemplateWrong as wrong:
            raise invalid(str(wrong)) from wrong
        if not differs(stack, wish, changes):
            raise invalid("No updates are to be performed.")
        self.begin(stack, work.update(stack, wish, self.exports, mode), token)

    def delete(self, name: str, retain: list[str], token: str | None) -> None:
        """Begin to remove a stack. That there is none is fine, as in AWS."""
        stack = self.named(name)
        if stack is None:
            return
        if stack.protected:
            raise invalid(
                f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled"
            )
        if stack.status == "DELETE_IN_PROGRESS":
            return
        if retain and stack.status != "DELETE_FAILED":
            raise invalid(
                "Invalid operation on stack [" + stack.stack_id + "]. Resources can be retained "
                "only if the stack is in the DELETE_FAILED state."
            )
        self.begin(stack, work.delete(stack, retain), token)

    def roll_back(self, stack: Stack, token: str | None) -> None:
        """Undo a failed creation or update that was left as it was."""
        if _repeated(stack, token):
            return
        if stack.status == "CREATE_FAILED":
            self.begin(stack, work.unmake(stack, "User Initiated"), token)
        elif stack.status == "UPDATE_FAILED":
            self.begin(stack, work.roll_back(stack, (), self.exports, "User Initiated"), token)
        else:
            raise _wrong_state(stack, "rolled back")

    def go_on_rolling_back(self, stack: Stack, skip: Iterable[str], token: str | None) -> None:
        """Go on with a rollback that failed."""
        if _repeated(stack, token):
            return
        if stack.status != "UPDATE_ROLLBACK_FAILED":
            raise _wrong_state(stack, "continued")
        self.begin(stack, work.roll_back(stack, skip, self.exports, "User Initiated"), token)

    def cancel(self, stack: Stack) -> None:
        """Stop an update and roll it back."""
        if stack.status != "UPDATE_IN_PROGRESS":
            raise invalid("CancelUpdateStack cannot be called from current stack status")
        stack.cancelled = True


def _repeated(stack: Stack, token: str | None) -> bool:
    """Whether the stack's last work was asked for with this token: then it is not asked again."""
    return token is not None and stack.token == token


def _wrong_state(stack: Stack, verb: str) -> CloudFormationError:
    return invalid(f"Stack:{stack.stack_id} is in {stack.status} state and can not be {verb}.")


def _check_capabilities(wish: Wish, given: list[str]) -> None:
    try:
        needed = needed_capabilities(wish.parsed)
    except TemplateWrong as wrong:
        raise invalid(str(wrong)) from wrong
    ok = not needed or needed[0] in given or "CAPABILITY_NAMED_IAM" in given
    if not ok:
        raise error("InsufficientCapabilitiesException", f"Requires capabilities : [{needed[0]}]")


def needed_capabilities(parsed: Mapping[str, Any]) -> list[str]:
    """What whoever uses this template must acknowledge."""
    roles = [r for r in parsed["Resources"].values() if r["Type"].startswith("AWS::IAM::")]
    if any(name in role.get("Properties", {}) for role in roles for name in _NAMES):
        return ["CAPABILITY_NAMED_IAM"]
    return ["CAPABILITY_IAM"] if roles else []


def checked_wish(body: str, given: Mapping[str, str], tags: Mapping[str, str]) -> Wish:
    """A wish whose template and parameters can be used. Raises ValidationError."""
    try:
        parameters(parse(body), given)
    except TemplateWrong as wrong:
        raise invalid(str(wrong)) from wrong
    return Wish(body, given, tags)
