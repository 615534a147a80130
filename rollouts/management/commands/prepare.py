"""``manage.py prepare``: everything that must be true before the processes start. Harmless twice.

Tables, static files, roles, and, on the very first start, the local mesh with its stack wanted.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import transaction

from rollouts import clock
from rollouts.actions.stacks import STACKS
from rollouts.models import Mesh, Service, Stack


class Command(BaseCommand):
    help = "Migrates, collects static files and makes the local mesh on the first start."

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("check", verbosity=0)
        call_command("migrate", interactive=False, verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        if settings.AWS_FAKE:
            fake_mesh()
            return
        mesh = local_mesh()
        stack, made = Stack.objects.get_or_create(mesh=mesh, name=mesh.slug)
        if made:
            now = clock.moment().now
            Stack.objects.filter(pk=stack.pk).update(
                wanted=Stack.PRESENT, requested_at=now, attempt=1, wake_at=now
            )


def local_mesh() -> Mesh:
    """The mesh of this machine, with the addresses that the settings give now."""
    mesh, _ = Mesh.objects.get_or_create(slug="local", defaults={"name": settings.PROJECT_NAME})
    mesh.settings |= {
        "public": f"{settings.BIND}:{settings.PUBLIC_PORT}",
        "egress": f"127.0.0.1:{settings.EGRESS_PORT}",
        "admin": [f"127.0.0.1:{settings.ENVOY_ADMIN_PORT}"],
    }
    mesh.save(update_fields=["settings"])
    return mesh


@transaction.atomic
def fake_mesh() -> Mesh:
    """A mesh on the fake AWS, of which nothing is there yet: the fake forgets when it stops."""
    Service.objects.filter(mesh__platform="ecs").delete()
    Mesh.objects.filter(platform="ecs").delete()
    chosen = {
        "fake": True,
        "region": settings.AWS_DEFAULT_REGION or "eu-west-1",
        "nat": "none",
        "bastion": "none",
        "ingress_cidr": "0.0.0.0/0",
        "control_plane": f"localhost:{settings.XDS_TLS_PORT}",
        "egress": "127.0.0.1:15001",
        "log_retention_days": 30,
    }
    mesh = Mesh.objects.create(
        slug="echo", name="echo on the fake AWS", platform="ecs", router="envoy", settings=chosen
    )
    for name in STACKS["ecs"]:
        Stack.objects.create(mesh=mesh, name=name, kind="cloudformation")
    return mesh
