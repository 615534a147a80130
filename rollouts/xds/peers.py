"""Who speaks on a stream that came by TLS, and whether it may say what it says.

PURE: what gRPC knows of the other end's certificate goes in. ``server`` asks for each stream of
the guarded listener; a stream of the plaintext one has no certificate and is not asked.
"""

import ipaddress
from collections.abc import Iterable, Mapping

from envoy.config.core.v3.base_pb2 import Node

from rollouts.errors import PeerRefused
from rollouts.pki import Named, read_uri
from rollouts.xds.snapshot import Sidecar

LONGEST_ID = 60


def named_by(auth_context: Mapping[str, Iterable[bytes]]) -> Named | None:
    """Whom the certificate names; None when it names nobody, several, or none of ours."""
    uris = list(auth_context.get("peer_uri") or ())
    if len(uris) != 1:
        return None
    # What is no ASCII is no name of ours.
    return read_uri(uris[0].decode("ascii", "replace"))


def admit(auth_context: Mapping[str, Iterable[bytes]], node: Node) -> tuple[str, Sidecar]:
    """The name under which the proxy is known, and what it is. Raises PeerRefused.

    The name begins with the service of the certificate: no proxy can pass for one of another
    service, and confirm weights in its place.
    """
    named = named_by(auth_context)
    if named is None:
        raise PeerRefused(
            "The certificate names no service of a mesh (spiffe://meshui/mesh/service)."
        )
    told = dict(node.metadata.items())
    service, loopback = told.get("service"), told.get("loopback", "127.0.0.1")
    if node.cluster != named.mesh:
        raise PeerRefused(f"The certificate is for mesh {named.mesh}, not for {node.cluster!r}.")
    if service != named.service:
        raise PeerRefused(f"The certificate is for service {named.service}, not for {service!r}.")
    if not 0 < len(node.id) <= LONGEST_ID or not node.id.isprintable():
        raise PeerRefused(f"The node's id must be 1 to {LONGEST_ID} printable characters.")
    if not _is_loopback(loopback):
        raise PeerRefused(f"The node's loopback address is {loopback!r}, which is none.")
    return f"{named.service}/{node.id}", Sidecar(loopback)


def _is_loopback(text: object) -> bool:
    try:
        return isinstance(text, str) and ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False
