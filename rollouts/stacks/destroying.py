"""Towards *absent*: put to rest what runs on a stack, delete it, and watch that end.

Called by ``cloudformation``. Resources may be left behind only when a deletion has failed and a
person has named them.
"""

from __future__ import annotations

from uuid import uuid4

from django.utils import timezone

from rollouts import aws
from rollouts.errors import AwsGone, ProvisionerError
from rollouts.models import Service, Stack
from rollouts.stacks import targets
from rollouts.stacks.base import Progress
from rollouts.stacks.cfn import Cloud, There, later
from rollouts.stacks.watching import POLL_S, Look, at, begun, look, stage_of, why

LOAD_BALANCER = "AWS::ElasticLoadBalancingV2::LoadBalancer"


def step(stack: Stack) -> Progress:
    """One step; ends in *absent* or *failed*."""
    stage = stage_of(stack)
    if stage in ("done", "failed"):
        return at(stack, stack.phase, stage, reason=stack.reason)
    cloud = Cloud(stack)
    if stage == "watch":
        return _watch(stack, cloud)
    waiting = _needed_by(stack) or (_unrest(stack) if stack.name == "app" else "")
    if waiting:
        return Progress("deleting", stack.step, 0, 0, reason=waiting, again_s=POLL_S)
    there = cloud.there()
    if there is None:
        return _absent(stack)
    if there.busy and there.status != "DELETE_IN_PROGRESS":
        reason = f"CloudFormation is at work on {cloud.name}: {there.status}."
        return Progress("deleting", stack.step, 0, 0, reason=reason, again_s=POLL_S)
    return _delete(stack, cloud, there) if stage == "delete" else _begin(stack, cloud, there)


def _needed_by(stack: Stack) -> str:
    """Why this stack must wait; raises ProvisionerError when waiting does not help."""
    above = later(stack)
    if not above:
        return ""
    if all(each.wanted == Stack.ABSENT for each in above):
        return f"Waiting for {above[0].name} to be destroyed, which needs {stack.name}."
    raise ProvisionerError(
        f"{above[0].name} needs {stack.name}: destroy {above[0].name} first.", permanent=True
    )


def _unrest(stack: Stack) -> str:
    """Ask every service to rest; what of them is still there, as a sentence."""
    services = list(Service.objects.filter(mesh=stack.mesh))
    for service in services:
        if service.stable_id or service.weights or service.versions.filter(count__gt=0).exists():
            Service.objects.put_to_rest(service.pk, timezone.now())
    running = sum(service.running.count() for service in services)
    if running:
        return f"{_counted(running, 'task')} stopping."
    left = {"task set": _task_sets(stack)} | targets.left(stack.mesh)
    waiting = next((f"{_counted(n, what)} being deleted." for what, n in left.items() if n), "")
    if waiting:
        # It is their ticks that delete them, and a service at rest may not be due for long.
        Service.objects.filter(mesh=stack.mesh).update(wake_at=timezone.now())
    return waiting


def _counted(number: int, what: str) -> str:
    return f"1 {what} is" if number == 1 else f"{number} {what}s are"


def _task_sets(stack: Stack) -> int:
    """Task sets that ECS still has, although none of their tasks may run."""
    cluster = stack.mesh.stacks.filter(name="infra").values_list("outputs", flat=True).first()
    names = [value for key, value in stack.outputs.items() if key.endswith("ServerService")]
    if not names or not cluster or not cluster.get("Cluster"):
        return 0
    try:
        found = aws.call(aws.account_of(stack.mesh.settings), "ecs", "describe_services",
                         cluster=cluster["Cluster"], services=names)["services"]  # fmt: skip
    except AwsGone:
        return 0
    return sum(len(each.get("taskSets", [])) for each in found if each.get("status") != "INACTIVE")


def _begin(stack: Stack, cloud: Cloud, there: There) -> Progress:
    """Choose the token, which is stored before it is used, and note where the events are now."""
    left = [r for r in cloud.resources(there.id) if r["ResourceStatus"] != "DELETE_COMPLETE"]
    operation, lines = begun(stack, cloud, there, uuid4().hex, total=len(left))
    return at(stack, "deleting", "delete", operation, lines=lines, proposal={})


def _delete(stack: Stack, cloud: Cloud, there: There) -> Progress:
    if there.protected:
        cloud.protect(on=False)
    if stack.name != "infra":
        _unprotect_balancers(cloud, there)
    if there.status != "DELETE_IN_PROGRESS":
        retain = stack.asked.get("retain", []) if there.status == "DELETE_FAILED" else []
        cloud.delete(there.id, stack.operation["token"], retain)
    return at(stack, "deleting", "watch", again_s=POLL_S)


def _unprotect_balancers(cloud: Cloud, there: There) -> None:
    """A person has typed the name of the stack: the load balancer may go with it."""
    off = [{"Key": "deletion_protection.enabled", "Value": "false"}]
    for each in cloud.resources(there.id):
        if each["ResourceType"] == LOAD_BALANCER and each["ResourceStatus"] != "DELETE_COMPLETE":
            try:
                aws.call(cloud.account, "elbv2", "modify_load_balancer_attributes",
                         LoadBalancerArn=each["PhysicalResourceId"], Attributes=off)  # fmt: skip
            except AwsGone:
                continue  # so nothing protects it


def _watch(stack: Stack, cloud: Cloud) -> Progress:
    seen = look(stack, cloud)
    if not seen.over:
        return at(stack, "deleting", "watch", seen.operation, lines=seen.lines, again_s=POLL_S)
    if seen.there is None or seen.there.status == "DELETE_COMPLETE":
        return _absent(stack, seen)
    operation = {
        **seen.operation,
        "status": seen.there.status,
        "survivors": _survivors(cloud, seen.there),
    }
    return at(stack, "failed", "failed", operation, lines=seen.lines,
              reason=why(operation, seen.there))  # fmt: skip


def _survivors(cloud: Cloud, there: There) -> list[dict[str, str]]:
    """What could not be deleted: the only resources that may be left behind."""
    return [
        {
            "resource": each["LogicalResourceId"],
            "kind": each["ResourceType"],
            "id": each.get("PhysicalResourceId", ""),
            "reason": each.get("ResourceStatusReason", ""),
        }
        for each in cloud.resources(there.id)
        if each["ResourceStatus"] == "DELETE_FAILED"
    ]


def _absent(stack: Stack, seen: Look | None = None) -> Progress:
    total = int(stack.operation.get("total", 0))
    return Progress("absent", f"absent-{stack.attempt}:done", total, total,
                    seen.lines if seen else (), operation={"attempt": stack.attempt}, proposal={},
                    endpoint="" if stack.name == "app" else None)  # fmt: skip
