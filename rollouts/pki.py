"""The certificates by which Envoys beside tasks and the control plane know each other.

One authority of our own, in a folder; nobody else trusts it and it trusts nobody else. The control
plane takes its certificate from here, and whoever provisions a mesh that of each sidecar. Keys are
given to the caller and never logged. It must not read rows or the clock.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from django.conf import settings

from rollouts.errors import InvalidInput, PkiError

DOMAIN = "meshui"  # the trust domain of the SPIFFE ids
AUTHORITY_DAYS = 3650
LONGEST_DAYS = 825
# Clocks differ: a certificate that begins now is not yet valid where the clock is late.
SKEW = timedelta(minutes=5)
NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9])?")
KEY, CERTIFICATE = "key.pem", "cert.pem"


@dataclass(frozen=True)
class Identity:
    """PEM texts: a certificate, its key, and every authority that its owner should trust."""

    cert: str
    key: str = field(repr=False)
    ca: str


@dataclass(frozen=True)
class Named:
    """Whom a client certificate names: a service of a mesh."""

    mesh: str
    service: str

    @property
    def uri(self) -> str:
        return f"spiffe://{DOMAIN}/{self.mesh}/{self.service}"


def read_uri(uri: str) -> Named | None:
    """Whom a SPIFFE id names; None when it is none of ours."""
    found = re.fullmatch(rf"spiffe://{DOMAIN}/([^/]+)/([^/]+)", uri)
    if found is None or not all(NAME.fullmatch(part) for part in found.groups()):
        return None
    return Named(*found.groups())


class Authority:
    """Issues certificates. ``folder`` is made with its key on first use.

    Several processes, and with a shared folder several machines, may do so at once: one wins.
    Every file ``trusted/*.pem`` in it holds an authority that is trusted beside this one, for
    the time in which one replaces the other (docs/routers/envoy.md).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def issue_client(self, mesh: str, service: str, *, days: int, now: datetime) -> Identity:
        """What the Envoy beside the tasks of a service shows. Raises InvalidInput, PkiError."""
        for given in (mesh, service):
            if not NAME.fullmatch(given):
                raise InvalidInput("service", f"{given!r} cannot be a name in a certificate.")
        uri = x509.UniformResourceIdentifier(Named(mesh, service).uri)
        return self._issue(f"{mesh}/{service}"[:64], [uri], _CLIENT, days, now)

    def issue_server(self, names: Sequence[str], *, days: int, now: datetime) -> Identity:
        """What the control plane shows: ``names`` are host names and IP addresses it is reached
        by. Raises InvalidInput, PkiError."""
        if not names:
            raise InvalidInput("names", "A server's certificate needs a name.")
        return self._issue(names[0][:64], [_host(name) for name in names], _SERVER, days, now)

    def _issue(
        self,
        subject: str,
        names: Sequence[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        days: int,
        now: datetime,
    ) -> Identity:
        if not 1 <= days <= LONGEST_DAYS:
            raise InvalidInput("days", f"A certificate lives 1 to {LONGEST_DAYS} days, not {days}.")
        key, issuer = self._own(now)
        own = ec.generate_private_key(ec.SECP256R1())
        # One that outlives its authority would be refused earlier than it says.
        until = min(now + timedelta(days=days), issuer.not_valid_after_utc)
        made = (
            _builder(subject, own, issuer.subject, now, until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_may(sign=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(_by(key), critical=False)
            .sign(key, hashes.SHA256())
        )
        return Identity(_text(made), _secret(own), self.trusted(now=now))

    def trusted(self, *, now: datetime) -> str:
        """The certificates of every authority to trust, PEM, this one first. Raises PkiError."""
        _, own = self._own(now)
        others = sorted((self._folder / "trusted").glob("*.pem"))
        return "".join([_text(own), *(_text(_certificate(path)) for path in others)])

    def _own(self, now: datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        home = self._folder / "authority"
        try:
            if not home.exists():
                self._found(home, now)
            key = serialization.load_pem_private_key((home / KEY).read_bytes(), None)
        except (OSError, ValueError) as error:
            raise PkiError(
                f"The certificate authority in {home} cannot be used: {error}"
            ) from error
        certificate = _certificate(home / CERTIFICATE)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise PkiError(f"The key in {home} is not an elliptic curve key.")
        if key.public_key() != certificate.public_key():
            raise PkiError(f"Key and certificate in {home} do not belong together.")
        if certificate.not_valid_after_utc <= now:
            raise PkiError(f"The certificate authority in {home} has expired.")
        return key, certificate

    def _found(self, home: Path, now: datetime) -> None:
        """Make the authority, whole or not at all. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = Path(tempfile.mkdtemp(prefix=".authority-", dir=self._folder))
        try:
            _write_authority(made, now)
            made.rename(home)
        except OSError:
            # Renaming onto a folder that is not empty fails: another process was first.
            if not (home / CERTIFICATE).exists():
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)


def authority() -> Authority:
    """That of this installation, in ``MESHUI_PKI_DIR``."""
    return Authority(settings.PKI_DIR)


def issue_client(mesh: str, service: str, days: int, *, now: datetime) -> Identity:
    """As ``Authority.issue_client``, by the authority of this installation."""
    return authority().issue_client(mesh, service, days=days, now=now)


def issue_server(names: Sequence[str], days: int, *, now: datetime) -> Identity:
    """As ``Authority.issue_server``, by the authority of this installation."""
    return authority().issue_server(names, days=days, now=now)


_CLIENT, _SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


def renew_when(cert: str) -> datetime:
    """When a certificate (PEM) should be replaced: two thirds into its life.

    Raises InvalidInput when it is none.
    """
    found = _parsed(cert)
    began, ends = found.not_valid_before_utc, found.not_valid_after_utc
    return began + (ends - began) * 2 / 3


def expires(cert: str) -> datetime:
    """When a certificate (PEM) ends. Raises InvalidInput when it is none."""
    return _parsed(cert).not_valid_after_utc


def named_by(cert: str) -> Named | None:
    """Whom a client certificate (PEM) names. Raises InvalidInput when it is none."""
    try:
        names = _parsed(cert).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return read_uri(uris[0]) if len(uris) == 1 else None


def _parsed(cert: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(cert.encode())
    except ValueError as error:
        raise InvalidInput("cert", "This is not a certificate in PEM form.") from error


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise PkiError(f"The certificate {path} cannot be read: {error}") from error


def _write_authority(folder: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = f"meshui {os.urandom(4).hex()}"
    until = now + timedelta(days=AUTHORITY_DAYS)
    own = (
        _builder(subject, key, _called(subject), now, until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_may(sign=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(folder / KEY, _secret(key), 0o600)
    _write(folder / CERTIFICATE, _text(own), 0o644)


def _write(path: Path, text: str, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _builder(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    now: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_called(subject))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _by(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _may(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        key_cert_sign=sign,
        crl_sign=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    if not NAME.fullmatch(name.lower()):
        raise InvalidInput("names", f"{name!r} is neither a host name nor an IP address.")
    return x509.DNSName(name.lower())


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _secret(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
