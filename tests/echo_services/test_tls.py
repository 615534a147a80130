"""The client behind a load balancer that speaks TLS, as AWS's does for gRPC."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from echo_services import environment
from echo_services.environment import SettingError, Tls
from rollouts.pki import Authority
from tests.echo_services.programs import eventually, fetch
from tests.fakeaws.balancer import Balancer

PEM = "-----BEGIN CERTIFICATE-----\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture
def listener(authority, tmp_path, server) -> Iterator[Callable[[str], Balancer]]:
    """An HTTPS listener for this name in front of a server of version 1.0."""
    with ExitStack() as stack:

        def start(name: str) -> Balancer:
            identity = authority.issue_server([name], days=1, now=datetime.now(UTC))
            pair = tmp_path / "pair.pem"
            pair.write_text(identity.cert + identity.key)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair)
            context.set_alpn_protocols(["h2"])
            balancer = Balancer(tls=context)
            stack.callback(balancer.close)
            balancer.set_targets([("127.0.0.1", server.port, 1)])
            return balancer

        yield start


def trusted(authority: Authority) -> str:
    return authority.trusted(now=datetime.now(UTC))


def test_it_speaks_tls_to_the_host_of_its_endpoint(listener, authority, start_client):
    port = listener("localhost").port
    client = start_client(f"localhost:{port}", SERVER_TLS="1", SERVER_CA=trusted(authority))
    assert "Version 1.0" in fetch(client, "/").text
    assert fetch(client, "/ping")[:2] == (200, "OK")


def test_the_certificate_may_be_for_the_name_it_asks_by(
    listener, authority, start_client, tmp_path
):
    (tmp_path / "ca.pem").write_text(trusted(authority))
    client = start_client(
        f"127.0.0.1:{listener('echo.example.com').port}",
        SERVER_TLS="1",
        SERVER_CA_FILE=str(tmp_path / "ca.pem"),
        SERVER_AUTHORITY="echo.example.com",
    )
    assert "Version 1.0" in fetch(client, "/").text


def test_a_certificate_for_another_name_is_refused(listener, authority, start_client):
    port = listener("elsewhere.example.com").port
    client = start_client(f"localhost:{port}", SERVER_TLS="1", SERVER_CA=trusted(authority))
    eventually(lambda: "Hostname Verification" in fetch(client, "/").text, "it says why")
    assert fetch(client, "/").status == 502


def test_an_authority_that_nobody_told_it_of_is_refused(listener, start_client):
    client = start_client(f"localhost:{listener('localhost').port}", SERVER_TLS="1")
    eventually(lambda: "CERTIFICATE_VERIFY_FAILED" in fetch(client, "/").text, "it says why")


def test_without_its_switch_no_authority_is_read():
    assert environment.tls({"SERVER_CA": "nonsense"}) is None
    assert environment.tls({"SERVER_TLS": "1"}) == Tls(None)
    assert environment.tls({"SERVER_TLS": "1", "SERVER_CA": PEM}) == Tls(PEM.encode())


@pytest.mark.parametrize("variable", ["SERVER_CA", "SERVER_CA_FILE"])
def test_an_authority_that_is_none_is_refused_by_the_name_of_its_variable(variable, tmp_path):
    (tmp_path / "ca.pem").write_text("nonsense")
    value = "nonsense" if variable == "SERVER_CA" else str(tmp_path / "ca.pem")
    with pytest.raises(SettingError, match=f"^{variable} must be certificates in PEM form"):
        environment.tls({"SERVER_TLS": "1", variable: value})


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingError, match="SERVER_CA_FILE must be a file that can be read"):
        environment.tls({"SERVER_TLS": "1", "SERVER_CA_FILE": str(tmp_path / "no")})
