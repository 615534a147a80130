"""Calls to AWS: clients made once, errors turned into sentences, polls held back under throttling.

botocore's Stubber says what no emulator says; a bare socket plays the servers that say nothing.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import (
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.stub import Stubber

from rollouts import aws, errors
from rollouts.aws import Account

HERE = Account("eu-west-1")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[None]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
    monkeypatch.setattr(aws, "ATTEMPTS", 1)
    settings.AWS_ENDPOINT_URL = "http://127.0.0.1:1"
    aws.forget()
    yield
    aws.forget()


def answered(code: str, message: str = "no", status: int = 400) -> Stubber:
    stub = Stubber(aws.client(HERE, "ecs"))
    stub.add_client_error("describe_clusters", code, message, http_status_code=status)
    stub.add_client_error("describe_clusters", code, message, http_status_code=status)
    return stub


@pytest.mark.parametrize(
    ("code", "kind", "permanent"),
    [
        ("ThrottlingException", errors.AwsThrottled, False),
        ("TooManyRequestsException", errors.AwsThrottled, False),
        ("RequestLimitExceeded", errors.AwsThrottled, False),
        ("ExpiredTokenException", errors.AwsExpired, False),
        ("ExpiredToken", errors.AwsExpired, False),
        ("RequestExpired", errors.AwsExpired, False),
        ("AccessDeniedException", errors.AwsDenied, True),
        ("UnauthorizedOperation", errors.AwsDenied, True),
        ("ClusterNotFoundException", errors.AwsGone, True),
        ("ServiceNotFoundException", errors.AwsGone, True),
        ("ResourceInUseException", errors.AwsConflict, False),
        ("UpdateInProgressException", errors.AwsConflict, False),
        ("LimitExceededException", errors.AwsLimit, True),
        ("ServiceQuotaExceededException", errors.AwsLimit, True),
        ("InvalidParameterException", errors.AwsRefused, True),
    ],
)
def test_each_answer_of_aws_is_an_error_of_ours(
    code: str, kind: type[errors.AwsError], permanent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "forget", lambda: None)  # keeps the stub for the second try
    with answered(code), pytest.raises(kind) as told:
        aws.call(HERE, "ecs", "describe_clusters")
    assert type(told.value) is kind
    assert (told.value.code, told.value.permanent) == (code, permanent)
    assert str(told.value).endswith((".", ")"))


def test_a_500_is_odd_and_may_have_taken_effect() -> None:
    with answered("InternalFailure", status=500), pytest.raises(errors.AwsOdd) as told:
        aws.call(HERE, "ecs", "describe_clusters")
    assert told.value.maybe_done


def test_a_denied_call_names_the_right_to_add_and_the_role() -> None:
    role = Account("eu-west-1", "arn:aws:iam::123456789012:role/deploy")
    stub = Stubber(aws.client(role, "ecs"))
    stub.add_client_error("describe_clusters", "AccessDeniedException", "not authorized")
    with stub, pytest.raises(errors.AwsDenied, match=r"role/deploy.*Add ecs:DescribeClusters"):
        aws.call(role, "ecs", "describe_clusters")


@pytest.mark.parametrize(
    ("error", "kind", "maybe_done"),
    [
        (EndpointConnectionError(endpoint_url="http://x"), errors.AwsUnreachable, False),
        (ConnectTimeoutError(endpoint_url="http://x"), errors.AwsUnreachable, False),
        (ReadTimeoutError(endpoint_url="http://x"), errors.AwsUnreachable, True),
        (NoCredentialsError(), errors.AwsDenied, False),
    ],
)
def test_no_answer_says_whether_a_write_may_have_happened(
    error: Exception, kind: type[errors.AwsError], maybe_done: bool, monkeypatch: Any
) -> None:
    def fails(**_: object) -> None:
        raise error

    monkeypatch.setattr(aws.client(HERE, "ecs"), "describe_clusters", fails, raising=False)
    with pytest.raises(kind) as told:
        aws.call(HERE, "ecs", "describe_clusters")
    assert told.value.maybe_done is maybe_done
    assert "eu-west-1" in str(told.value)


def test_a_mistake_of_ours_is_refused_before_it_is_sent() -> None:
    with pytest.raises(errors.AwsRefused, match="meshui asked ecs:DescribeClusters wrongly"):
        aws.call(HERE, "ecs", "describe_clusters", clusters=3)


def test_expired_credentials_are_read_again_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = aws.client(HERE, "ecs")
    stub = Stubber(first)
    stub.add_client_error("describe_clusters", "ExpiredTokenException", "ended")
    with stub, pytest.raises(errors.AwsUnreachable):  # the second client is a real one
        aws.call(HERE, "ecs", "describe_clusters")
    assert aws.client(HERE, "ecs") is not first


def test_a_service_that_botocore_dropped_is_said_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(errors.AwsRefused, match="does not know appmash any more") as told:
        aws.call(HERE, "appmash", "describe_mesh")
    assert told.value.code == "UnknownService"


def test_under_throttling_only_urgent_calls_go_out() -> None:
    with answered("ThrottlingException"), pytest.raises(errors.AwsThrottled):
        aws.call(HERE, "ecs", "describe_clusters")
    before = time.monotonic()
    with pytest.raises(errors.AwsThrottled, match="going on in") as held:
        aws.call(HERE, "ecs", "describe_clusters")
    assert held.value.code == "SlowDown"
    assert time.monotonic() - before < 1.0, "it is not waited for"
    with aws.urgent(), pytest.raises(errors.AwsUnreachable):
        aws.call(HERE, "ecs", "describe_clusters")
    with pytest.raises(errors.AwsUnreachable, match="asking again in"):
        aws.call(HERE, "sts", "get_caller_identity")


def test_a_write_that_must_not_be_repeated_is_sent_once(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asked: list[bool] = []

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    asked.append(bool(connection.recv(65536)))

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        settings.AWS_ENDPOINT_URL = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setattr(aws, "ATTEMPTS", 2)
        aws.forget()
        with aws.once(), pytest.raises(errors.AwsUnreachable):
            aws.call(HERE, "ecs", "describe_clusters")
        assert len(asked) == 1
        with aws.urgent(), pytest.raises(errors.AwsUnreachable):
            aws.call(HERE, "ecs", "describe_clusters")
        assert len(asked) == 3
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_clients_and_sessions_are_made_once_also_by_many_threads() -> None:
    made: list[Any] = []
    threads = [
        threading.Thread(target=lambda: made.append(aws.client(HERE, "ecs"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(client) for client in made}) == 1


@pytest.fixture
def server() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """A server of one answer; the test says what becomes of the connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve(answer: Callable[[socket.socket], None]) -> str:
        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                answer(connection)

        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield serve
    listener.close()
    for thread in threads:
        thread.join(5)


def test_a_connection_that_is_cut_may_have_taken_effect(server: Any, settings: Any) -> None:
    settings.AWS_ENDPOINT_URL = server(lambda connection: None)
    with pytest.raises(errors.AwsUnreachable) as told:
        aws.call(HERE, "ecs", "describe_clusters")
    assert told.value.maybe_done


def test_no_answer_in_time_may_have_taken_effect(
    server: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "READ_S", {True: 0.2, False: 0.2})
    done = threading.Event()
    settings.AWS_ENDPOINT_URL = server(lambda connection: done.wait(5) and None)
    with pytest.raises(errors.AwsUnreachable) as told:
        aws.call(HERE, "ecs", "describe_clusters")
    done.set()
    assert told.value.maybe_done


def test_nonsense_is_odd(server: Any, settings: Any) -> None:
    settings.AWS_ENDPOINT_URL = server(
        lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<html>no!")
    )
    with pytest.raises(errors.AwsOdd):
        aws.call(HERE, "sts", "get_caller_identity")


def test_credentials_are_in_no_error_and_no_log(caplog: Any) -> None:
    with answered("AccessDeniedException"), pytest.raises(errors.AwsDenied) as told:
        aws.call(HERE, "ecs", "describe_clusters")
    assert "not-a-secret" not in str(told.value) + caplog.text
    assert "AKIDEXAMPLE" not in str(told.value) + caplog.text


def test_a_mesh_without_region_is_refused_by_field(settings: Any) -> None:
    settings.AWS_DEFAULT_REGION = ""
    with pytest.raises(errors.InvalidInput) as wrong:
        aws.account_of({})
    assert wrong.value.field == "region"
    assert aws.account_of({"region": "eu-west-1", "role_arn": ""}) == HERE
