"""The identity of the Envoy beside echo_client, in the secret that its task reads.

Called by ``creating`` and ``proposing``, once the stack ``mesh`` is there. Neither certificate nor
key is logged, and the key never touches a row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from rollouts import aws, pki
from rollouts.errors import AwsGone, InvalidInput
from rollouts.models import Mesh
from rollouts.xds.sidecar import control_plane_address, sidecar_bootstrap

SERVICE = "echo_client"
# A task reads its secret once, when it starts: a new certificate needs new tasks, so not too often.
DAYS = 365


def ensure(mesh: Mesh, secret: str, now: datetime) -> None:
    """Write certificate, key, CA and bootstrap into ``secret`` (an ARN), unless they are well.

    Raises InvalidInput, PkiError, AwsError.
    """
    account = aws.account_of(mesh.settings)
    first = bootstrap(mesh)
    try:
        held = aws.call(account, "secretsmanager", "get_secret_value", SecretId=secret)
        told = json.loads(held["SecretString"])
    except (AwsGone, ValueError):
        told = {}  # made by the stack, without a value
    if _well(told, mesh, first, pki.authority().trusted(now=now), now):
        return
    made = pki.issue_client(mesh.slug, SERVICE, DAYS, now=now)
    value = {"cert": made.cert, "key": made.key, "ca": made.ca, "bootstrap": first}
    aws.call(account, "secretsmanager", "put_secret_value", SecretId=secret,
             SecretString=json.dumps(value))  # fmt: skip


def bootstrap(mesh: Mesh) -> str:
    """The first configuration of the mesh's sidecars. Raises InvalidInput."""
    where = control_plane_address(str(mesh.settings.get("control_plane") or ""))
    return sidecar_bootstrap(mesh.slug, SERVICE, where)


def _well(told: Mapping[str, str], mesh: Mesh, first: str, trusted: str, now: datetime) -> bool:
    """It names this service, trusts what it should, and need not be renewed yet."""
    if told.get("bootstrap") != first or told.get("ca") != trusted or not told.get("key"):
        return False
    try:
        named, renew = pki.named_by(told["cert"]), pki.renew_when(told["cert"])
    except (InvalidInput, KeyError):
        return False
    return named == pki.Named(mesh.slug, SERVICE) and now < renew
