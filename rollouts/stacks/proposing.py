"""Towards *proposal*: what creating or updating a stack would change, and what it would cost.

Called by ``cloudformation``. It makes a change set and reads it; nothing of the stack is touched,
apart from an empty one that an earlier failure has left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from django.utils import timezone

from rollouts.errors import AwsConflict, AwsGone, AwsNothingToDo, ProvisionerError
from rollouts.models import Service, Stack
from rollouts.stacks import changes, cost, identity, images, parameters, registered
from rollouts.stacks.base import Line, Progress
from rollouts.stacks.cfn import STACK, Cloud, There, template_of
from rollouts.stacks.watching import at, stage_of

LOOK_S = 1.0
NOTHING = ("didn't contain changes", "No updates are to be performed")
BROKEN = ("CREATE_FAILED", "ROLLBACK_FAILED", "DELETE_FAILED")


def step(stack: Stack) -> Progress:
    """One step; ends in *proposed*, or in *ready* when there is nothing to do."""
    stage = stage_of(stack)
    if stage in ("proposed", "nothing", "broken"):
        return at(stack, stack.phase, stage, reason=stack.reason)
    cloud = Cloud(stack)
    if not stage:
        return _begin(stack, cloud)
    if stage == "look":
        return _look(stack, cloud)
    there = cloud.there()
    waiting = _in_the_way(stack, cloud, there)
    return waiting or _ask(stack, cloud, there)


def _begin(stack: Stack, cloud: Cloud) -> Progress:
    """Choose the name and the token, which are stored before they are used."""
    old = stack.proposal.get("change_set")
    if old:
        _drop(cloud, old)
    token = uuid4().hex
    kept = {k: v for k, v in stack.operation.items() if k in ("stack_id", "last_event")}
    named = {
        "attempt": stack.attempt,
        "token": token,
        "name": f"meshui-{stack.attempt}-{token[:8]}",
    }
    return at(stack, "proposing", "ask", {**kept, **named}, proposal={})


def _in_the_way(stack: Stack, cloud: Cloud, there: There | None) -> Progress | None:
    """What must end, or go, before changes can be worked out."""
    if there is None:
        return None
    if there.busy:
        reason = f"CloudFormation is at work on {cloud.name}: {there.status}."
        return at(stack, "proposing", "ask", reason=reason, again_s=LOOK_S)
    if there.status == "ROLLBACK_COMPLETE":
        # It holds nothing and can only be deleted; until then its name is taken.
        cloud.delete(there.id, stack.operation["token"])
        reason = f"The empty {cloud.name} of the failed attempt is removed first."
        return at(stack, "proposing", "ask", reason=reason, again_s=LOOK_S)
    if there.status == "UPDATE_ROLLBACK_FAILED":
        return _broken(stack, there, "The last update could not be undone: continue its rollback.")
    if there.status in BROKEN:
        return _broken(stack, there, f"The stack is {there.status}: destroy it. {there.reason}")
    return None


def _broken(stack: Stack, there: There, reason: str) -> Progress:
    operation = {**stack.operation, "status": there.status}
    return at(stack, "failed", "broken", operation, reason=reason.strip())


def _ask(stack: Stack, cloud: Cloud, there: There | None) -> Progress:
    template = template_of(stack.name)
    create = there is None or there.status == "REVIEW_IN_PROGRESS"
    try:
        values = _values(stack, template)
    except ProvisionerError as error:
        return _proposed(stack, {"type": _type(create), "problems": [str(error)]})
    name = stack.operation["name"]
    if cloud.change_set(name) is None:
        listed = [{"ParameterKey": k, "ParameterValue": v} for k, v in sorted(values.items())]
        tags = {"meshui:mesh": stack.mesh.slug}
        try:
            cloud.propose(name, stack.operation["token"], create=create, parameters=listed,
                          tags=tags, body=template)  # fmt: skip
        except AwsNothingToDo:
            return _nothing(stack, there)
        except AwsConflict:
            pass  # the same request, whose answer was lost: it is read next
    return at(stack, "proposing", "look", {**stack.operation, "parameters": values})


def _values(stack: Stack, template: str) -> dict[str, str]:
    _refuse_a_taken_name(stack)
    outputs = parameters.outputs_of_others(stack)
    found = images.resolved(stack.mesh, list(parameters.declared(template)), outputs)
    values = parameters.fill(stack, template, found)
    needed = {"alb": "CertificateArn", "envoy": "ControlPlane"}.get(stack.mesh.router, "")
    if stack.name == "mesh" and needed and not values.get(needed):
        raise ProvisionerError(
            f"The router {stack.mesh.router} needs the setting {parameters.setting_of(needed)}.",
            permanent=True,
        )
    return values


def _refuse_a_taken_name(stack: Stack) -> None:
    name = registered.name_of(stack.mesh)
    other = Service.objects.filter(name=name).exclude(mesh=stack.mesh).first()
    if other is not None:
        raise ProvisionerError(
            f"There is a service {name} already, in the mesh {other.mesh.slug}: "
            "this mesh needs another short name.",
            permanent=True,
        )


def _look(stack: Stack, cloud: Cloud) -> Progress:
    found = cloud.change_set(stack.operation["name"])
    there = cloud.there()
    if found is None:
        return at(stack, "proposing", "ask", again_s=LOOK_S)
    if found["Status"] == "FAILED":
        return _failed(stack, cloud, there, str(found.get("StatusReason", "")))
    if found["Status"] != "CREATE_COMPLETE":
        return at(stack, "proposing", "look", again_s=LOOK_S)
    create = there is None or there.status == "REVIEW_IN_PROGRESS"
    listed = changes.described(found.get("Changes", []))
    existing = [] if create else cloud.resources()
    return _proposed(stack, {
        "change_set": found["ChangeSetId"],
        "type": _type(create),
        "changes": listed,
        "parameters": stack.operation.get("parameters", {}),
        "problems": [],
        **_priced(stack, existing, listed),
    })  # fmt: skip


def _failed(stack: Stack, cloud: Cloud, there: There | None, reason: str) -> Progress:
    _drop(cloud, stack.operation["name"])
    if any(words in reason for words in NOTHING):
        return _nothing(stack, there)
    create = there is None or there.status == "REVIEW_IN_PROGRESS"
    problem = f"CloudFormation cannot do this: {reason or 'it gives no reason.'}"
    return _proposed(stack, {"type": _type(create), "problems": [problem]})


def _priced(
    stack: Stack, existing: Sequence[Mapping[str, Any]], listed: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    tasks = stack.operation.get("parameters", {}).get("EchoClientCount", 2)
    after = cost.monthly(changes.kinds_after(existing, listed), router=stack.mesh.router,
                         client_tasks=int(tasks))  # fmt: skip
    return {"cost": cost.told(after)}


def _proposed(stack: Stack, proposal: dict[str, Any]) -> Progress:
    return at(stack, "proposed", "proposed", proposal={"change_set": "", "changes": [], **proposal})


def _nothing(stack: Stack, there: There | None) -> Progress:
    text = "The stack is as its template and settings say: there is nothing to do."
    line = Line(stack.name, STACK, "NOTHING_TO_DO", text, uid=f"nothing-{stack.attempt}")
    outputs = there.outputs if there is not None else {}
    if outputs.get("EchoClientSecret"):
        identity.ensure(stack.mesh, outputs["EchoClientSecret"], timezone.now())  # may be old
    return at(stack, "ready", "nothing", lines=(line,), outputs=outputs,
              proposal={"nothing": True})  # fmt: skip


def discard(stack: Stack) -> Progress:
    """Drop the change set, and the empty stack that only held it; then say what is there."""
    cloud = Cloud(stack)
    change_set = stack.proposal.get("change_set")
    if change_set:
        _drop(cloud, change_set)
    there = cloud.there()
    if there is None or there.status == "DELETE_COMPLETE":
        return Progress("absent", "", 0, 0, operation={}, proposal={})
    if there.status == "REVIEW_IN_PROGRESS":
        cloud.delete(there.id, f"discard-{stack.pk}-{stack.attempt}")
        return Progress("deleting", f"deleting-{stack.attempt}:discard", 0, 0, again_s=LOOK_S,
                        proposal={})  # fmt: skip
    if there.busy:
        reason = f"CloudFormation is at work on {cloud.name}: {there.status}."
        return at(stack, stack.phase, "discard", reason=reason, again_s=LOOK_S)
    phase = "ready" if there.complete else "failed"
    return Progress(phase, "", stack.total, stack.total, outputs=there.outputs, proposal={},
                    reason="" if there.complete else f"The stack is {there.status}.")  # fmt: skip


def _drop(cloud: Cloud, change_set: str) -> None:
    try:
        cloud.drop_change_set(change_set)
    except AwsGone:
        return  # so it is dropped


def _type(create: bool) -> str:
    return "CREATE" if create else "UPDATE"
