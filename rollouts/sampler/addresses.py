"""Says which address the sampler may connect to: a mesh's own registered endpoint, and no other.

Called by ``probe`` for every new connection, so that a name that changes its address later is
checked again. The caller connects to the very address that was checked; nothing here connects.
"""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import quote, urlsplit

from rollouts.errors import InvalidInput

Address = IPv4Address | IPv6Address

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?\.?")
# Resolvers read 127.1, 0x7f.1 and 2130706433 as addresses; a host name never ends so.
_NUMERIC = re.compile(r"(.*\.)?(0[xX][0-9A-Fa-f]*|[0-9]+)\.?")
# Wrappings that hide another address, and metadata services outside the link-local range.
_REFUSED = [
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.100.100.200/32",
        "::ffff:0:0/96",
        "::/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2001::/32",
        "2002::/16",
        "fd00:ec2::254/128",
    )
]


class AddressRefused(InvalidInput):
    """The policy says no; the sentence says why."""

    def __init__(self, sentence: str) -> None:
        super().__init__("public_url", sentence)


@dataclass(frozen=True, slots=True)
class Target:
    """What to ask: ``path`` is ready for a request line, ``loopback`` as the URL spells it."""

    host: str
    port: int
    path: str
    tls: bool
    loopback: bool

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def target_of(public_url: str, path: str) -> Target:
    """The sample path at the public endpoint of a mesh.

    Raises AddressRefused for a URL with a user name, another scheme than http and https, or a host
    in one of the spellings that resolvers read differently than people do.
    """
    if not public_url.isascii() or re.search(r"[\s\x00-\x1f\x7f\\]", public_url):
        raise AddressRefused("The public URL must be plain ASCII without spaces.")
    try:
        parts = urlsplit(public_url)
        port = parts.port
    except ValueError:
        raise AddressRefused("The public URL cannot be read.") from None
    tls = parts.scheme == "https"
    if parts.scheme not in ("http", "https") or "@" in parts.netloc or not parts.hostname:
        raise AddressRefused("The public URL must be http(s)://host:port, without a user name.")
    if not path.startswith("/"):
        raise AddressRefused("The sample path must start with /.")
    host = parts.hostname
    return Target(
        host=host,
        port=port if port is not None else (443 if tls else 80),
        path=quote(path, safe="/?&=%+:@!$'()*,;~-._[]"),
        tls=tls,
        loopback=_is_loopback(host),
    )


def _is_loopback(host: str) -> bool:
    address = literal(host)
    return host == "localhost" if address is None else address.is_loopback


def literal(host: str) -> Address | None:
    """The address that ``host`` spells out, or None for a name. Raises AddressRefused."""
    if ":" in host or _NUMERIC.fullmatch(host):
        try:
            return ip_address(host)
        except ValueError:
            raise AddressRefused(f"{host!r} is an unusual spelling of an address.") from None
    if not _NAME.fullmatch(host):
        raise AddressRefused(f"{host!r} is not a host name.")
    return None


def check(address: Address, *, loopback: bool) -> None:
    """Raises AddressRefused unless the policy allows ``address``.

    ``loopback``: the mesh itself is registered at a loopback address, on this very port.
    Private networks are allowed: internal load balancers live there.
    """
    if address.is_loopback:
        if not loopback:
            raise AddressRefused(f"{address} is this machine, and the mesh is not registered here.")
        return
    if loopback:
        raise AddressRefused(f"{address} is not this machine, where the mesh is registered.")
    if (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address == ip_address("255.255.255.255")
        or getattr(address, "scope_id", None)
        or any(address in network for network in _REFUSED)
    ):
        raise AddressRefused(f"{address} is not an address that a mesh may have.")


async def resolve(target: Target) -> str:
    """The address to connect to. Raises AddressRefused, and OSError when the name is unknown."""
    address = literal(target.host)
    if address is not None:
        check(address, loopback=target.loopback)
        return str(address)
    loop = asyncio.get_running_loop()
    rows = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    found = [ip_address(row[4][0]) for row in rows]
    for each in found:  # One forbidden answer among good ones is an attack, not a preference.
        check(each, loopback=target.loopback)
    return str(found[0])
