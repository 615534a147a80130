"""The work on a stack: create, update, roll back, delete, step by step.

Called by the API, run by a Clockwork. Each function is a generator that stops where time passes.
Resources of one wave are in progress together; a failure in it cancels the others.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.fakeaws.cloudformation_client import Refused
from tests.fakeaws.cloudformation_failures import APPLY, DELETE, UNDO, reason_to_fail
from tests.fakeaws.cloudformation_kinds import Made, Props
from tests.fakeaws.cloudformation_registry import kind_of
from tests.fakeaws.cloudformation_schema import fixed_properties, wrong_properties
from tests.fakeaws.cloudformation_stack import Output, Resource, Stack, Wish
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


def _apply(stack: Stack, wish: Wish, exports: Exports, journal: list[Step]) -> Failed:
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


def _summary(verb: str, failed: list[str]) -> str:
    return f"The following resource(s) failed to {verb}: [{', '.join(sorted(failed))}]. "


def _settle(stack: Stack, wish: Wish, exports: Exports) -> None:
    """Remember the wish, its outputs, and what each resource looks like from outside."""
    stack.wish = wish
    scope = stack.scope(wish, exports())
    stack.outputs = [
        Output(
            key,
            _text(scope.value(slot["Value"])),
            slot.get("Description"),
            scope.value(slot["Export"]["Name"]) if "Export" in slot else None,
        )
        for key, slot in (wish.parsed.get("Outputs") or {}).items()
        if "Condition" not in slot or scope.condition(slot["Condition"])
    ]
    for resource in stack.living().values():
        assert resource.made is not None
        resource.seen = kind_of(resource.type).look(stack.call, resource.made, resource.props)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def create(stack: Stack, wish: Wish, exports: Exports, on_failure: str) -> Steps:
    """Make a stack. ``on_failure``: ROLLBACK, DO_NOTHING or DELETE."""
    stack.say("CREATE_IN_PROGRESS", "User Initiated")
    stack.wish = wish
    failed = yield from _apply(stack, wish, exports, [])
    if not failed:
        _settle(stack, wish, exports)
        stack.say("CREATE_COMPLETE")
    elif on_failure == "DO_NOTHING":
        stack.say("CREATE_FAILED", _summary("create", failed))
    elif on_failure == "DELETE":
        yield from delete(
            stack, (), reason=_summary("create", failed) + "Delete requested by user."
        )
    else:
        said = _summary("create", failed) + "Rollback requested by user."
        yield from unmake(stack, said)


def unmake(stack: Stack, reason: str) -> Steps:
    """Roll a creation back: remove all that was made."""
    stack.say("ROLLBACK_IN_PROGRESS", reason)
    survivors = yield from _remove(stack, list(stack.living()), rolling_back=True)
    if survivors:
        stack.say("ROLLBACK_FAILED", _summary("delete", survivors))
    else:
        stack.say("ROLLBACK_COMPLETE")


def delete(stack: Stack, retain: Iterable[str], reason: str | None = None) -> Steps:
    """Remove a stack; ``retain`` names what is left as it is."""
    stack.say("DELETE_IN_PROGRESS", reason or "User Initiated")
    for name in retain:
        if name in stack.resources:
            stack.tell(stack.resources[name], "DELETE_SKIPPED")
    survivors = yield from _remove(stack, list(stack.living()))
    if survivors:
        stack.say("DELETE_FAILED", _summary("delete", survivors).rstrip())
    else:
        stack.deleted = stack.now()
        stack.outputs = []
        stack.say("DELETE_COMPLETE")


def _remove(stack: Stack, names: list[str], *, rolling_back: bool = False) -> Failed:
    """Remove these resources, users before what they use."""
    stayed: list[str] = []
    waiting = set(names)
    while waiting:
        used = set().union(*(one.needs for one in stack.living().values()))
        ready = sorted(waiting - used)[:TOGETHER]
        if not ready:
            return stayed
        going = [name for name in ready if not _kept(stack, stack.resources[name], rolling_back)]
        for name in going:
            stack.tell(stack.resources[name], "DELETE_IN_PROGRESS")
        for name in going:
            yield Pause.STEP
            stayed += yield from _take_away(stack, stack.resources[name])
        waiting -= set(ready)
    return stayed


def _kept(stack: Stack, resource: Resource, rolling_back: bool) -> bool:
    policy = resource.deletion_policy
    if policy == "Retain" or (policy == "RetainExceptOnCreate" and not rolling_back):
        stack.tell(resource, "DELETE_SKIPPED")
        return True
    return False


def _take_away(stack: Stack, resource: Resource) -> Failed:
    """Remove one resource; its name if it could not be."""
    assert resource.made is not None
    reason = reason_to_fail(resource.logical, DELETE)
    try:
        if reason is not None:
            raise Refused(reason)
        kind = kind_of(resource.type)
        kind.delete(stack.call, resource.made, resource.props)
        while not kind.drained(stack.call, resource.made, resource.props):
            yield Pause.WAIT
    except Refused as refused:
        stack.tell(resource, "DELETE_FAILED", str(refused))
        return [resource.logical]
    stack.tell(resource, "DELETE_COMPLETE")
    return []


def update(stack: Stack, wish: Wish, exports: Exports, on_failure: str) -> Steps:
    """Change a stack; back to what it was if anything fails, unless DO_NOTHING."""
    was, journal = stack.wish, list[Step]()
    stack.cancelled = False
    stack.updated = stack.now()
    stack.say("UPDATE_IN_PROGRESS", "User Initiated")
    stack.wish = wish
    failed = yield from _apply(stack, wish, exports, journal)
    if failed or stack.cancelled:
        stack.wish = was
        said = _summary("update", failed) if failed else "User Initiated"
        stack.unwound = journal
        if on_failure == "DO_NOTHING" and not stack.cancelled:
            stack.say("UPDATE_FAILED", said)
        else:
            yield from roll_back(stack, (), exports, said)
        return
    gone = _leftovers(stack, wish, journal, exports)
    stack.say("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
    yield from _clean_up(stack, gone)
    _settle(stack, wish, exports)
    stack.say("UPDATE_COMPLETE")


def _leftovers(
    stack: Stack, wish: Wish, journal: list[Step], exports: Exports
) -> list[tuple[Resource, bool]]:
    """What the update left over, users first: (resource, whether it stays in the account)."""
    wanted = stack.scope(wish, exports()).wanted()
    replaced = [
        (step.before, step.before.replace_policy == "Retain")
        for step in reversed(journal)
        if step.replaces and step.before is not None
    ]
    removed = [one for name, one in stack.living().items() if name not in wanted]
    kept = ("Retain", "RetainExceptOnCreate")
    return replaced + [(one, one.deletion_policy in kept) for one in _users_first(removed)]


def _users_first(resources: list[Resource]) -> list[Resource]:
    left, ordered = list(resources), list[Resource]()
    while left:
        used = set().union(*(one.needs for one in left))
        free = [one for one in left if one.logical not in used] or left
        ordered += free
        left = [one for one in left if one not in free]
    return ordered


def _clean_up(stack: Stack, gone: list[tuple[Resource, bool]]) -> Steps:
    """Remove what is left over. What cannot be removed stays, as in AWS: the update is complete."""
    for resource, kept in gone:
        if kept:
            stack.tell(resource, "DELETE_SKIPPED")
        else:
            stack.tell(resource, "DELETE_IN_PROGRESS")
            yield Pause.STEP
            yield from _take_away(stack, resource)
        if stack.resources.get(resource.logical) is resource:
            del stack.resources[resource.logical]


def roll_back(stack: Stack, skip: Iterable[str], exports: Exports, reason: str) -> Steps:
    """Undo what an update did, newest first; ``skip`` names what is taken as undone."""
    stack.say("UPDATE_ROLLBACK_IN_PROGRESS", reason)
    skipped = set(skip)
    while stack.unwound:
        step: Step = stack.unwound[-1]
        failed = yield from _undo(stack, step, skipped)
        if failed:
            stack.say("UPDATE_ROLLBACK_FAILED", _summary("update", [step.resource.logical]))
            return
        stack.unwound.pop()
        if (step.before is None or step.replaces) and step.resource.made is not None:
            stack.surplus.append(step.resource)
    stack.say("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS")
    yield from _clean_up(stack, [(one, False) for one in stack.surplus])
    stack.surplus.clear()
    dead = [name for name, one in stack.resources.items() if one.made is None]
    for name in dead:
        del stack.resources[name]
    _settle(stack, stack.wish, exports)
    stack.say("UPDATE_ROLLBACK_COMPLETE")


def _undo(stack: Stack, step: Step, skipped: set[str]) -> Generator[Pause, None, bool]:
    """Take one step back. Its value: True if that failed."""
    before, resource = step.before, step.resource
    if before is None:
        return False
    stack.tell(resource, "UPDATE_IN_PROGRESS")
    yield Pause.STEP
    if not step.replaces and resource.logical not in skipped:
        try:
            resource.made = _changed_back(stack, resource, before)
        except Refused as refused:
            stack.tell(resource, "UPDATE_FAILED", str(refused))
            return True
    stack.resources[resource.logical] = before
    stack.tell(before, "UPDATE_COMPLETE")
    return False


def _changed_back(stack: Stack, resource: Resource, before: Resource) -> Made:
    reason = reason_to_fail(resource.logical, UNDO)
    if reason is not None:
        raise Refused(reason)
    assert resource.made is not None
    place = stack.place(resource.logical)
    kind = kind_of(resource.type)
    return kind.update(stack.call, place, resource.made, resource.props, before.props)
