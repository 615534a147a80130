import time

import grpc
import pytest

from echo_services.rehearsal import Rehearsal, RehearsedError
from tests.echo_services.calls import SERVICE, ask, channel_to, health_of, status_name, watch


async def failures(rehearsal: Rehearsal, requests: int) -> list[int]:
    """The numbers, from 1, of the requests that fail."""
    failed = []
    for nth in range(1, requests + 1):
        try:
            await rehearsal.play()
        except RehearsedError:
            failed.append(nth)
    return failed


async def test_without_switches_nothing_fails():
    assert await failures(Rehearsal.from_environment({}), 100) == []


async def test_a_share_of_errors_is_evenly_spread():
    assert await failures(Rehearsal(error_share=0.25), 12) == [4, 8, 12]


@pytest.mark.parametrize(("share", "of_a_thousand"), [(0.001, 1), (0.1, 100), (0.999, 999)])
async def test_a_share_of_errors_is_exact(share, of_a_thousand):
    assert len(await failures(Rehearsal(error_share=share), 1000)) == of_a_thousand


def test_a_rehearsed_error_is_internal_and_carries_the_version(start_server):
    with channel_to(start_server(ERROR_SHARE="1", VERSION="2.0")) as channel:
        failed = ask(channel).exception()

    assert failed.code() == grpc.StatusCode.INTERNAL
    assert failed.details() == "rehearsed failure (ERROR_SHARE)"
    assert ("x-version", "2.0") in failed.trailing_metadata()


def test_added_latency_delays_the_answer(start_server):
    with channel_to(start_server(LATENCY_MS="300")) as channel:
        asked = time.monotonic()
        ask(channel).result()

    assert time.monotonic() - asked >= 0.3


def test_a_crash_comes_after_so_many_answers(start_server):
    server = start_server(CRASH_AFTER="2")
    with channel_to(server) as channel:
        for _ in range(2):
            ask(channel).result()
        failed = ask(channel).exception()

    assert failed.code() == grpc.StatusCode.UNAVAILABLE
    assert server.wait_for_end() == 1


def test_a_version_that_is_never_healthy_still_answers(start_server):
    with channel_to(start_server(NEVER_HEALTHY="1")) as channel:
        ask(channel).result()

        assert [health_of(channel, name) for name in ("", SERVICE)] == ["NOT_SERVING"] * 2


def test_a_slow_start_is_unhealthy_first_and_healthy_later(start_server):
    with channel_to(start_server(SLOW_START_SECONDS="1.5")) as channel:
        statuses = watch(channel)

        assert [status_name(next(statuses)) for _ in range(2)] == ["NOT_SERVING", "SERVING"]
