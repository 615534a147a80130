"""The control plane's certificate, new whenever it should be, without a restart.

Made by the ``controlplane`` command; gRPC asks before each handshake, in threads of its own.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import grpc

from rollouts.errors import MeshuiError
from rollouts.pki import Authority, Identity

log = logging.getLogger(__name__)

DAYS = 2
# Long before it ends: with it comes what the authority's folder says now about whom to trust.
RENEW_AFTER = timedelta(hours=1)


class ServerCertificate:
    """``names`` are host names and IP addresses; they may be replaced at any time."""

    def __init__(
        self, authority: Authority, names: Sequence[str], now: Callable[[], datetime]
    ) -> None:
        self.names = tuple(names)
        self._authority = authority
        self._now = now
        self._asked = self._wish()

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials that demand a client certificate. Raises InvalidInput, PkiError."""
        return grpc.dynamic_ssl_server_credentials(
            self._issue(),
            self._renewed,  # type: ignore[arg-type]  # None is allowed: "as it is"
            require_client_authentication=True,
        )

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """A new configuration, or None while the present one will do."""
        names, issued = self._asked
        if names == self.names and self._now() < issued + RENEW_AFTER:
            return None
        try:
            return self._issue()
        except MeshuiError as error:
            # The old one is good for another day; without a word it would end then.
            log.error("the control plane's certificate is not renewed: %s", error)
            self._asked = self._wish()
            return None

    def _issue(self) -> grpc.ServerCertificateConfiguration:
        names, now = asked = self._wish()
        identity = self._authority.issue_server(names, days=DAYS, now=now)
        self._asked = asked
        return _configuration(identity)

    def _wish(self) -> tuple[tuple[str, ...], datetime]:
        return self.names, self._now()


def _configuration(identity: Identity) -> grpc.ServerCertificateConfiguration:
    pair = (identity.key.encode(), identity.cert.encode())
    return grpc.ssl_server_certificate_configuration([pair], identity.ca.encode())
