"""The service that the stack ``app`` makes, as meshui knows it.

Called by ``proposing`` (is the name free?) and ``creating``. Its versions come with deploys.
"""

from __future__ import annotations

from datetime import datetime

from rollouts.models import Mesh, Service
from rollouts.stacks.sample import SAMPLE_PATH


def name_of(mesh: Mesh) -> str:
    """What callers in the mesh name: echo_server in the mesh's name space."""
    return f"echo_server.{mesh.slug}.local"


def slug_of(mesh: Mesh) -> str:
    return f"{mesh.slug}-echo-server"


def ensure(mesh: Mesh, now: datetime) -> None:
    """Make sure that the service's row is there; what people changed in it stays."""
    Service.objects.get_or_create(
        slug=slug_of(mesh),
        defaults={
            "mesh": mesh,
            "name": name_of(mesh),
            "protocol": "grpc",
            "health_kind": "grpc",
            "sample_path": SAMPLE_PATH,
            "wake_at": now,
        },
    )
