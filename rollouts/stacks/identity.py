"""The identity of the Envoy beside echo_client, in the secret that its task reads.

Called by ``creating``, once the stack ``mesh`` is there. Neither certificate nor key is logged.
"""

from __future__ import annotations

from rollouts.models import Mesh

SERVICE = "echo_client"
KEYS = ("cert", "key", "ca", "bootstrap")


def ensure(mesh: Mesh, secret: str) -> None:
    """Write certificate, key, CA and bootstrap into ``secret`` (an ARN), if it has none."""
