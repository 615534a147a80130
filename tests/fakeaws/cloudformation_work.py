"""The work on a stack: create, update, roll back, delete, step by step.

Called by the API, run by a Clockwork. Each function is a generator that stops where time passes.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

from tests.fakeaws.cloudformation_apply import TOGETHER, Exports, Failed, Step, apply
from tests.fakeaws.cloudformation_client import Refused
from tests.fakeaws.cloudformation_failures import DELETE, UNDO, reason_to_fail
from tests.fakeaws.cloudformation_kinds import Made
from tests.fakeaws.cloudformation_registry import kind_of
from tests.fakeaws.cloudformation_stack import Output, Resource, Stack, Wish
from tests.fakeaws.stack_events import Pause, Steps


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
    failed = yield from apply(stack, wish, exports, [])
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
    failed = yield from apply(stack, wish, exports, journal)
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
