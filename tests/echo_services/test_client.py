import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from echo_services.client import DEFAULT_NAME, requested_name
from tests.echo_services.programs import DEADLINE_SECONDS, eventually, fetch
from tests.ports import free_port


def test_it_passes_on_what_the_server_says(client):
    response = fetch(client, "/?name=Mary%20Ann")

    assert response.status == 200
    assert response.text == (
        "Response from the server: Hello, Mary Ann-san! (Said 127.0.0.1, Version 1.0)"
    )
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["x-version"] == "1.0"


def test_it_greets_somebody_when_no_name_is_given(client):
    assert f"Hello, {DEFAULT_NAME}-san!" in fetch(client, "/").text


def test_it_takes_names_of_any_script(client):
    assert "Hello, 泉-san!" in fetch(client, "/?name=%E6%B3%89").text


@pytest.mark.parametrize("name", ["", "a%0Ab", "%FF", "%00", "x" * 201, "%E2%80%AE"])
def test_a_name_that_cannot_be_printed_is_refused(client, name):
    response = fetch(client, f"/?name={name}")

    assert response.status == 400
    assert response.text == "name must be 1 to 200 printable characters."


def test_a_name_may_have_200_characters():
    assert requested_name(b"name=" + b"x" * 200) == "x" * 200


def test_an_unknown_page_is_not_found(client):
    assert fetch(client, "/metrics").status == 404


@pytest.mark.parametrize("path", ["/", "/ping", "/alive"])
def test_other_methods_than_get_are_refused(client, path):
    response = fetch(client, path, method="POST")

    assert response.status == 405
    assert response.headers["allow"] == "GET"


def test_a_failure_of_the_server_is_a_502_with_its_reason_and_version(start_server, start_client):
    server = start_server(ERROR_SHARE="1", VERSION="2.0")
    response = fetch(start_client(server.address), "/")

    assert response.status == 502
    assert "INTERNAL, rehearsed failure (ERROR_SHARE)" in response.text
    assert response.headers["x-version"] == "2.0"


def test_a_server_that_is_too_slow_is_a_504(start_server, start_client):
    server = start_server(LATENCY_MS="5000", GRACE_SECONDS="0")
    response = fetch(start_client(server.address, TIMEOUT_MS="100"), "/")

    assert response.status == 504
    assert response.text == "The server did not answer in 100 ms: DEADLINE_EXCEEDED."


def test_it_starts_without_the_server_and_finds_it_later(start_server, start_client):
    port = free_port()
    client = start_client(f"127.0.0.1:{port}")
    for path, status in {"/": 502, "/ping": 503}.items():
        response = fetch(client, path)
        assert response.status == status
        assert "UNAVAILABLE" in response.text

    start_server(PORT=str(port), SLOW_START_SECONDS="1.5")

    eventually(lambda: fetch(client, "/").status == 200, "the server is found")
    said = "The server reports NOT_SERVING."
    eventually(lambda: fetch(client, "/ping").text == said, "the server reports that it starts")
    assert fetch(client, "/ping").status == 503
    eventually(lambda: fetch(client, "/ping")[:2] == (200, "OK"), "the server reports SERVING")


def test_it_is_alive_without_a_server(start_client):
    response = fetch(start_client(f"127.0.0.1:{free_port()}"), "/alive")

    assert (response.status, response.text) == (200, "Alive.")


def test_its_ping_fails_when_the_server_has_gone(start_server, start_client):
    server = start_server()
    client = start_client(server.address)
    eventually(lambda: fetch(client, "/ping").status == 200, "the server is healthy")

    server.ask_to_stop()

    eventually(lambda: fetch(client, "/ping").status == 503, "the ping fails")


def test_it_asks_the_mesh_by_the_name_it_was_told(start_client):
    # A mesh that never answers; gRPC writes the name into the first request as it is.
    with socket.create_server(("127.0.0.1", 0)) as mesh, ThreadPoolExecutor(1) as caller:
        mesh.settimeout(DEADLINE_SECONDS)
        client = start_client(
            f"127.0.0.1:{mesh.getsockname()[1]}",
            SERVER_AUTHORITY="echo_server.echo.local",
            TIMEOUT_MS="2000",
        )
        asked = caller.submit(fetch, client, "/")
        connection, _ = mesh.accept()
        with connection:
            connection.settimeout(DEADLINE_SECONDS)
            connection.sendall(b"\0\0\0\4\0\0\0\0\0")  # HTTP/2 SETTINGS, all of them default
            seen = b""
            while b"echo_server.echo.local" not in seen:
                received = connection.recv(4096)
                assert received, f"only {seen!r} came"
                seen += received
        assert asked.result().status == 502


def test_asked_to_stop_it_finishes_what_runs_and_ends_well(start_server, start_client):
    server = start_server(LATENCY_MS="1000", LOG_LEVEL="DEBUG")
    client = start_client(server.address)
    with ThreadPoolExecutor(1) as caller:
        asked = caller.submit(fetch, client, "/")
        eventually(lambda: "Echo from" in server.complained, "the request runs")

        client.ask_to_stop()

        assert asked.result().status == 200
    assert client.wait_for_end() == 0
    assert client.complained == ""


def test_a_second_client_on_the_port_fails_with_one_sentence(client, start_anything):
    second = start_anything("echo_services.client", PORT=str(client.port))

    assert second.wait_for_end() == 1
    assert second.complained == f"Cannot listen on {client.address}: Address already in use.\n"
