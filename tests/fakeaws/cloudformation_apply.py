"""Brings the resources of a stack to what a template wants, wave by wave.

Called by the work on stacks. Resources of one wave are in progress together; a failure in it
cancels the others. What was done is written into a journal, so that it can be undone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.fakeaws.cloudformation_client import Refused
from tests.fakeaws.cloudformation_failures import APPLY, reason_to_fail
from tests.fakeaws.cloudformation_kinds import Props
from tests.fakeaws.cloudformation_registry import kind_of
from tests.fakeaws.cloudformation_schema import fixed_properties, wrong_properties
from tests.fakeaws.cloudformation_stack import Resource, Stack, Wish
from tests.fakeaws.cloudformation_template import Scope, TemplateWrong, in_order, needs
from tests.fakeaws.stack_events import Pause, Steps

TOGETHER = 4  # resources in progress at once
STABLE_WITHIN_S = 60.0  # AWS has more patience: three hours
CANCELLED = "Resource creation cancelled"
UPDATE_CANCELLED = "Resource update cancelled"
REPLACING = "Requested update requires the creation of a new physical resource; hence creating one."
Exports = Callable[[], Mapping[str, str]]
Failed = Generator[Pause, None, list[str]]  # work that ends with the names of what failed


@dataclass
class Step:
    """What is done to one resource, and what undoes it."""

    resource: Resource
    before: Resource | None  # None: it is new
    replaces: bool = False

    @property
    def verb(self) -> str:
        """CREATE or UPDATE, as the log calls it."""
        return "UPDATE" if self.before is not None else "CREATE"


def _waves(order: list[str], wanted: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    """Names in groups of at most TOGETHER, each group needing only those before it."""
    done: set[str] = set()
    waiting = list(order)
    while waiting:
        ready = [n for n in waiting if needs(wanted[n], set(wanted)) <= done][:TOGETHER]
        yield ready
        done |= set(ready)
        waiting = [n for n in waiting if n not in done]


def _planned(
    stack: Stack, scope: Scope, name: str, raw: Mapping[str, Any], names: set[str]
) -> Step | None:
    """The step that this resource needs; None if it is as wanted. Raises Refused."""
    try:
        props: Props = scope.value(raw.get("Properties", {}))
    except TemplateWrong as wrong:
        raise Refused(str(wrong)) from wrong
    old = stack.resources.get(name)
    old = old if old is not None and old.living else None
    new = Resource(
        name,
        raw["Type"],
        "CREATE_IN_PROGRESS",
        stack.now(),
        None,
        props,
        needs(raw, names),
        deletion_policy=raw.get("DeletionPolicy", "Delete"),
        replace_policy=raw.get("UpdateReplacePolicy", "Delete"),
    )
    if old is None:
        return Step(new, None)
    if old.props == props and old.type == new.type:
        old.needs, old.deletion_policy = new.needs, new.deletion_policy
        old.replace_policy = new.replace_policy
        return None
    changed = {k for k in old.props.keys() | props.keys() if old.props.get(k) != props.get(k)}
    replaces = bool(changed & fixed_properties(new.type)) or old.type != new.type
    return Step(replace(new, made=old.made), old, replaces)


def _do(stack: Stack, step: Step) -> None:
    """Make or change the resource of a step. Raises Refused."""
    resource, before = step.resource, step.before
    reason = reason_to_fail(resource.logical, APPLY)
    if reason is not None:
        raise Refused(reason)
    wrong = wrong_properties(resource.type, resource.props)
    if wrong is not None:
        raise Refused(
            f"Properties validation failed for resource {resource.logical} with message: #: {wrong}"
        )
    kind, place = kind_of(resource.type), stack.place(resource.logical)
    if before is None or step.replaces:
        resource.made = None
        resource.made = kind.create(stack.call, place, resource.props)
        kind.complete(stack.call, place, resource.made, resource.props)
    else:
        assert before.made is not None
        resource.made = kind.update(stack.call, place, before.made, before.props, resource.props)


def apply(stack: Stack, wish: Wish, exports: Exports, journal: list[Step]) -> Failed:
    """Bring every resource to what the wish says."""
    scope = stack.scope(wish, exports())
    wanted = scope.wanted()
    for wave in _waves(in_order(wanted), wanted):
        steps, failed = _begin(stack, scope, wave, wanted)
        if steps:
            yield Pause.STEP
        for step in steps:
            cancelled = bool(failed) or stack.cancelled
            failed += yield from _finish(stack, step, journal, cancelled=cancelled)
            if not failed and not stack.cancelled and step is not steps[-1]:
                yield Pause.STEP
        if failed or stack.cancelled:
            return failed
    return []


def _begin(
    stack: Stack, scope: Scope, wave: list[str], wanted: Mapping[str, Mapping[str, Any]]
) -> tuple[list[Step], list[str]]:
    """Say what is in progress; the steps to do, and the names that failed at once."""
    steps: list[Step] = []
    failed: list[str] = []
    for name in wave:
        try:
            step = _planned(stack, scope, name, wanted[name], set(wanted))
        except Refused as refused:
            broken = stack.resources.get(name) or Resource(
                name, wanted[name]["Type"], "", stack.now()
            )
            stack.resources[name] = broken
            stack.tell(
                broken, "CREATE_FAILED" if broken.made is None else "UPDATE_FAILED", str(refused)
            )
            failed.append(name)
            continue
        if step is not None:
            stack.resources[name] = step.resource
            stack.tell(
                step.resource, f"{step.verb}_IN_PROGRESS", REPLACING if step.replaces else None
            )
            steps.append(step)
    return steps, failed


def _finish(stack: Stack, step: Step, journal: list[Step], *, cancelled: bool) -> Failed:
    """Do a step and say how it went; its name if it failed on its own account."""
    resource = step.resource
    if cancelled:
        said = CANCELLED if step.verb == "CREATE" else UPDATE_CANCELLED
        _failed(stack, step, said)
        return []
    try:
        _do(stack, step)
        yield from _wait(stack, step.resource)
    except Refused as refused:
        _failed(stack, step, str(refused))
        if step.before is not None or resource.made is not None:
            journal.append(step)  # perhaps half done
        return [resource.logical]
    if step.before is None:
        stack.tell(resource, "CREATE_IN_PROGRESS", "Resource creation Initiated")
    stack.tell(resource, f"{step.verb}_COMPLETE")
    journal.append(step)
    return []


def _wait(stack: Stack, resource: Resource) -> Steps:
    """Wait until a resource is what it shall be. Raises Refused if it fails or takes too long."""
    assert resource.made is not None
    kind, since = kind_of(resource.type), stack.now()
    while stack.waits and not stack.cancelled:
        if kind.settled(stack.call, resource.made, resource.props):
            return
        if stack.now() - since > STABLE_WITHIN_S:
            raise Refused("Exceeded attempts to wait (HandlerErrorCode: NotStabilized)")
        yield Pause.STEP


def _failed(stack: Stack, step: Step, reason: str) -> None:
    stack.tell(step.resource, f"{step.verb}_FAILED", reason)
    if step.before is not None:
        stack.resources[step.resource.logical] = replace(
            step.before, status="UPDATE_FAILED", reason=reason, at=stack.now()
        )
