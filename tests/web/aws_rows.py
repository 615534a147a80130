"""Rows of a mesh on AWS for the tests of its pages, and a provisioner that only looks on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.utils import timezone

from rollouts.models import Mesh, Stack, StackEvent
from rollouts.stacks.base import Change, Progress

ORDER = ("infra", "mesh", "app")
CERTIFICATE = (
    "arn:aws:acm:eu-central-1:123456789012:certificate/01234567-89ab-cdef-0123-456789abcdef"
)
DIGEST = f"sha256:{'0123456789abcdef' * 4}"
IMAGE = f"123456789012.dkr.ecr.eu-central-1.amazonaws.com/echo/echo_client@{DIGEST}"
SETTINGS = {
    "region": "eu-central-1",
    "nat": "one",
    "bastion": "none",
    "ingress_cidr": "0.0.0.0/0",
    "control_plane": "meshui.example.com:18443",
    "log_retention_days": 30,
    "echo_client_count": 2,
    "kept_images": 200,
    "egress": "127.0.0.1:15001",
}
FORM: dict[str, Any] = {
    "name": "Echo",
    "slug": "echo",
    "router": "envoy",
    "region": "eu-central-1",
    "nat": "one",
    "ingress_cidr": "0.0.0.0/0",
    "control_plane": "meshui.example.com:18443",
    "bastion": "none",
    "log_retention_days": "30",
    "echo_client_count": "2",
    "kept_images": "200",
}


class LookingOn:
    """Every stack stays as its row says: pages are tested with rows."""

    proposes = True

    def preview(self, stack: Stack) -> Sequence[Change]:
        return ()

    def advance(self, stack: Stack) -> Progress:
        return Progress(stack.phase, stack.step, stack.done, stack.total, reason=stack.reason)


def mesh_on_aws(slug: str = "echo", **columns: Any) -> Mesh:
    fields = {"name": "Echo", "platform": "ecs", "router": "envoy", "settings": dict(SETTINGS)}
    mesh = Mesh.objects.create(slug=slug, **{**fields, **columns})
    for name in ORDER:
        Stack.objects.create(mesh=mesh, name=name, kind="cloudformation")
    return mesh


def there(mesh: Mesh, *names: str) -> None:
    """These stacks are ready, with an output each."""
    for name in names:
        mesh.stacks.filter(name=name).update(
            phase="ready",
            wanted="present",
            outputs={"VpcId": f"vpc-{name}"},
            ready_at=timezone.now(),
        )


def change(action: str, resource: str, kind: str = "AWS::EC2::VPC", **more: str) -> dict[str, str]:
    return {"action": action, "resource": resource, "kind": kind, "replacement": "no", **more}


def proposed(stack: Stack, *changes: dict[str, str], **more: Any) -> None:
    """The stack awaits confirmation of these changes."""
    cost = {
        "lines": [{"what": "1 × NAT gateway", "monthly": 32.85}],
        "total": 57.3,
        "currency": "USD",
        "note": "List prices of 2026-11.",
    }
    told = {"change_set": "cs-1", "type": "CREATE", "changes": list(changes), "cost": cost}
    Stack.objects.filter(pk=stack.pk).update(
        phase="proposed", wanted="proposal", requested_at=timezone.now(), proposal={**told, **more}
    )


def failed(stack: Stack, status: str, reason: str = "Vpc: limit reached", **operation: Any) -> None:
    now = timezone.now()
    Stack.objects.filter(pk=stack.pk).update(
        phase="failed",
        reason=reason,
        requested_at=now - timedelta(seconds=60),
        operation={"status": status, **operation},
    )


def event(stack: Stack, resource: str, status: str, reason: str = "", ago_s: float = 30) -> None:
    StackEvent.objects.create(
        stack=stack,
        at=timezone.now() - timedelta(seconds=ago_s),
        resource=resource,
        kind="AWS::EC2::NatGateway",
        status=status,
        reason=reason,
    )
