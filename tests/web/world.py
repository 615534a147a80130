"""One service with a running and a new version, and people with different rights."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import Group, Permission, User
from django.utils import timezone

from rollouts.models import Mesh, Rollout, Service, Stack, Version

ROLES = ("anonymous", "viewer", "operator", "admin")


@dataclass
class World:
    mesh: Mesh
    service: Service
    old: Version
    new: Version
    stack: Stack

    def rollout(self, phase: str = "progressing") -> Rollout:
        return Rollout.objects.create(
            service=self.service,
            from_version=self.old,
            to_version=self.new,
            plan=[{"weight": 50, "hold_s": 60}, {"weight": 100}],
            plan_name="Half, then all",
            phase=phase,
            created_at=timezone.now(),
        )


def build_world() -> World:
    mesh = Mesh.objects.create(slug="local", name="Local mesh")
    service = Service.objects.create(mesh=mesh, slug="echo-server", name="echo_server.echo.local")
    old, new = (
        Version.objects.create(
            service=service, number=number, label=label, digest=f"sha256:{number:064x}"
        )
        for number, label in ((1, "0.9"), (2, "1.0"))
    )
    service.stable, service.weights, service.generation = old, {str(old.pk): 100}, 1
    service.save()
    stack = Stack.objects.create(mesh=mesh, name="local", wanted="present", phase="ready")
    return World(mesh, service, old, new, stack)


def person(role: str) -> User:
    """Somebody who signed in. Operators may deploy and roll back, admins may do everything."""
    user = User.objects.create_user(role)  # no password: hashing is slow
    if role == "operator":
        group, _ = Group.objects.get_or_create(name="operator")
        group.permissions.set(
            Permission.objects.filter(codename__in=("operate_service", "rollback_rollout"))
        )
        user.groups.add(group)
    if role == "admin":
        user.is_staff = user.is_superuser = True
        user.save()
    return user
