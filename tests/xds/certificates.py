"""Certificates for tests: good ones, and each kind of bad one."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc

from rollouts.pki import Authority, Identity

SERVICE = "front"


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Certificates:
    """Issued by ``ours`` or by ``theirs``, an authority that nobody trusts."""

    ours: Authority
    theirs: Authority

    @classmethod
    def in_folder(cls, folder: Path) -> "Certificates":
        return cls(Authority(folder / "ours"), Authority(folder / "theirs"))

    def good(self, mesh: str = "shop", service: str = SERVICE) -> Identity:
        return self.ours.issue_client(mesh, service, days=1, now=now())

    def strange(self) -> Identity:
        """Right in every word, and signed by somebody else."""
        made = self.theirs.issue_client("shop", SERVICE, days=1, now=now())
        return Identity(made.cert, made.key, self.ours.trusted(now=now()))

    def expired(self) -> Identity:
        return self.ours.issue_client("shop", SERVICE, days=1, now=now() - timedelta(days=2))

    def server(self) -> Identity:
        """One that is for servers."""
        return self.ours.issue_server(["localhost"], days=1, now=now())


def channel(port: int, identity: Identity | None, ca: str, host: str = "127.0.0.1"):
    """A channel that shows this certificate, or none."""
    pair = (identity.key.encode(), identity.cert.encode()) if identity else (None, None)
    return grpc.aio.secure_channel(
        f"{host}:{port}",
        grpc.ssl_channel_credentials(ca.encode(), *pair),
        options=[("grpc.use_local_subchannel_pool", 1)],
    )
