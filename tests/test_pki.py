"""Certificates of our own authority."""

import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from rollouts import pki
from rollouts.errors import InvalidInput, PkiError
from rollouts.pki import Authority, Named

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


def parsed(cert: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(cert.encode())


def issued_by(cert: str, ca: str) -> None:
    parsed(cert).verify_directly_issued_by(parsed(ca))


def test_a_client_is_named_by_its_mesh_and_service(authority):
    identity = authority.issue_client("echo", "echo_client", days=30, now=NOW)
    assert pki.named_by(identity.cert) == Named("echo", "echo_client")
    assert Named("echo", "echo_client").uri == "spiffe://meshui/echo/echo_client"
    issued_by(identity.cert, identity.ca)


def test_a_client_cannot_pass_for_a_server(authority):
    client = parsed(authority.issue_client("echo", "echo_client", days=1, now=NOW).cert)
    server = parsed(authority.issue_server(["xds.local"], days=1, now=NOW).cert)
    usage = [
        list(c.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        for c in (client, server)
    ]
    assert usage == [[ExtendedKeyUsageOID.CLIENT_AUTH], [ExtendedKeyUsageOID.SERVER_AUTH]]


def test_nobody_but_the_authority_may_sign(authority):
    leaf = parsed(authority.issue_client("echo", "a", days=1, now=NOW).cert)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


def test_a_server_has_host_names_and_ip_addresses(authority):
    cert = parsed(authority.issue_server(["XDS.Example.com", "10.0.0.1"], days=1, now=NOW).cert)
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["xds.example.com"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1"]


@pytest.mark.parametrize("wrong", ["a/b", "", "a b", "../x", "A", "a\n"])
def test_a_name_that_could_be_read_as_another_is_refused(authority, wrong):
    with pytest.raises(InvalidInput):
        authority.issue_client("echo", wrong, days=1, now=NOW)
    with pytest.raises(InvalidInput):
        authority.issue_client(wrong, "a", days=1, now=NOW)
    assert pki.read_uri(f"spiffe://meshui/echo/{wrong}") is None


@pytest.mark.parametrize(
    "uri", ["spiffe://other/echo/a", "spiffe://meshui/echo", "spiffe://meshui/a/b/c", "a", ""]
)
def test_an_id_of_somebody_else_names_nobody(uri):
    assert pki.read_uri(uri) is None


@pytest.mark.parametrize("days", [0, -1, 826])
def test_a_life_without_reason_is_refused(authority, days):
    with pytest.raises(InvalidInput, match="lives 1 to 825 days"):
        authority.issue_client("echo", "a", days=days, now=NOW)


def test_it_says_when_to_renew_and_when_it_ends(authority):
    cert = authority.issue_client("echo", "a", days=30, now=NOW).cert
    assert pki.expires(cert) == NOW + timedelta(days=30)
    assert NOW + timedelta(days=19) < pki.renew_when(cert) < NOW + timedelta(days=21)


def test_what_is_no_certificate_is_refused_with_a_sentence():
    with pytest.raises(InvalidInput, match="not a certificate in PEM form"):
        pki.renew_when("nonsense")


def test_no_certificate_outlives_its_authority(authority):
    authority.trusted(now=NOW)
    late = NOW + timedelta(days=pki.AUTHORITY_DAYS - 5)
    cert = authority.issue_client("echo", "a", days=30, now=late).cert
    assert pki.expires(cert) == late + timedelta(days=5)


def test_an_expired_authority_says_so(authority):
    authority.trusted(now=NOW)
    with pytest.raises(PkiError, match="has expired"):
        authority.issue_server(["a"], days=1, now=NOW + timedelta(days=pki.AUTHORITY_DAYS))


def test_the_key_is_for_its_owner_only(authority, tmp_path):
    authority.trusted(now=NOW)
    key = tmp_path / "pki" / "authority" / "key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700


def test_no_key_is_shown_by_accident(authority):
    identity = authority.issue_client("echo", "a", days=1, now=NOW)
    assert "PRIVATE" in identity.key
    assert "PRIVATE" not in repr(identity)


def test_the_authority_stays_the_same(authority, tmp_path):
    first = authority.trusted(now=NOW)
    assert Authority(tmp_path / "pki").trusted(now=NOW) == first


def test_processes_that_start_at_once_have_one_authority(tmp_path):
    text = (
        "import sys, pathlib, datetime; from rollouts.pki import Authority; "
        "now = datetime.datetime.now(datetime.UTC); sys.stdin.read(1); "
        "print(Authority(pathlib.Path(sys.argv[1])).issue_client('m', 's', days=1, now=now).ca)"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", text, str(tmp_path / "pki")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    # All wait for a letter, which everybody gets in the same moment.
    for process in started:
        assert process.stdin is not None
        process.stdin.write("x")
        process.stdin.flush()
    said = {process.communicate(timeout=30)[0] for process in started}
    assert all(process.returncode == 0 for process in started)
    assert len(said) == 1
    assert [p.name for p in (tmp_path / "pki").iterdir()] == ["authority"]


def test_another_authority_can_be_trusted_beside_it(authority, tmp_path):
    old = Authority(tmp_path / "old").trusted(now=NOW)
    (tmp_path / "pki" / "trusted").mkdir(parents=True)
    (tmp_path / "pki" / "trusted" / "old.pem").write_text(old)
    identity = authority.issue_client("echo", "a", days=1, now=NOW)
    assert identity.ca.endswith(old)
    assert identity.ca.count("BEGIN CERTIFICATE") == 2
    issued_by(identity.cert, identity.ca)


def test_a_broken_key_is_an_error_with_its_place(authority, tmp_path):
    authority.trusted(now=NOW)
    (tmp_path / "pki" / "authority" / "key.pem").write_text("nonsense")
    with pytest.raises(PkiError, match="authority"):
        authority.trusted(now=NOW)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PkiError):
        Authority(tmp_path / "pki").trusted(now=NOW)
