"""A load balancer's data plane."""

import http.client
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rollouts.pki import Authority
from tests.fakeaws.balancer import Balancer, Choice
from tests.ports import free_port


class Named(BaseHTTPRequestHandler):
    """Answers the port of its server, and keeps the connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = str(self.connection.getsockname()[1]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def balancer(stack: ExitStack) -> Balancer:
    made = Balancer()
    stack.callback(made.close)
    return made


@pytest.fixture
def target(stack: ExitStack):
    def start() -> int:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Named)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        return int(server.server_address[1])

    return start


def ask(port: int) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_connections_are_split_by_weight(balancer, target):
    one, other = target(), target()
    balancer.set_targets([("127.0.0.1", one, 3), ("127.0.0.1", other, 1)])
    said = Counter(ask(balancer.port)[1] for _ in range(20))
    assert said == {str(one): 15, str(other): 5}


def test_without_a_target_it_answers_503(balancer):
    assert ask(balancer.port)[0] == 503
    balancer.set_targets([("127.0.0.1", 1, 0)])
    assert ask(balancer.port)[0] == 503


def test_a_target_that_does_not_listen_is_passed_over(balancer, target):
    port = target()
    balancer.set_targets([("127.0.0.1", free_port(), 99), ("127.0.0.1", port, 1)])
    assert ask(balancer.port) == (200, str(port))


def test_when_no_target_listens_it_answers_502(balancer):
    balancer.set_targets([("127.0.0.1", free_port(), 1)])
    assert ask(balancer.port)[0] == 502


def test_nobody_stays_with_a_target_that_is_none_any_more(balancer, target):
    one, other = target(), target()
    balancer.set_targets([("127.0.0.1", one, 1)])
    kept = http.client.HTTPConnection("127.0.0.1", balancer.port, timeout=10)
    kept.request("GET", "/")
    assert kept.getresponse().read() == str(one).encode()
    balancer.set_targets([("127.0.0.1", other, 1)])
    assert kept.sock.recv(1) == b""
    kept.close()
    assert ask(balancer.port) == (200, str(other))


def test_it_ends_tls_where_it_should(stack, target, tmp_path: Path):
    authority, port = Authority(tmp_path / "pki"), target()
    identity = authority.issue_server(["127.0.0.1"], days=1, now=datetime.now(UTC))
    (tmp_path / "pair.pem").write_text(identity.cert + identity.key)
    here = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    here.load_cert_chain(tmp_path / "pair.pem")
    balancer = Balancer(tls=here)
    stack.callback(balancer.close)
    balancer.set_targets([("127.0.0.1", port, 1)])
    trusting = ssl.create_default_context(cadata=identity.ca)
    connection = http.client.HTTPSConnection("127.0.0.1", balancer.port, context=trusting)
    connection.request("GET", "/", headers={"Connection": "close"})
    assert connection.getresponse().read() == str(port).encode()
    connection.close()


def test_a_port_that_is_taken_is_an_error(balancer):
    with pytest.raises(OSError, match="in use"):
        Balancer(balancer.port)


def test_closing_frees_the_port():
    balancer = Balancer()
    balancer.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", balancer.port)) != 0


def test_choices_are_as_even_as_weights_allow():
    choice = Choice([("a", 1, 2), ("b", 1, 1)])
    assert [choice.next()[0][0] for _ in range(6)] == ["a", "b", "a", "a", "b", "a"]
    assert Choice().next() == []
