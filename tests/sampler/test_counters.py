"""Envoy's own numbers, from a recording of a real one (50 gRPC calls, 10 failed; 30 times 404)."""

from pathlib import Path

import pytest

from rollouts.sampler.counters import Count, Counters, Unreadable, counters_of, parse
from tests.sampler.servers import answer, serving

RECORDED = (Path(__file__).parent / "envoy_stats.json").read_text()


def test_failed_grpc_calls_are_errors_although_their_status_is_200():
    count = parse(RECORDED).counts["echo-server--3"]
    tally = count.tally("grpc")
    assert (tally.requests, tally.errors, tally.latency.total) == (50, 10, 50)
    assert (count.http, count.http_errors) == (50, 0)


def test_a_404_is_a_request_and_no_error():
    tally = parse(RECORDED).counts["web--4"].tally("http")
    assert (tally.requests, tally.errors, tally.latency.total) == (30, 0, 30)


def test_only_what_was_added_counts():
    before, now = Count(http=10, http_errors=1, times={0.5: 10}), Count(15, 2, times={0.5: 12})
    assert now.since(before) == Count(5, 1, times={0.5: 2})


def test_after_a_restart_everything_is_new():
    assert Count(http=3).since(Count(http=100, http_errors=4)) == Count(http=3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"stats": [{}]}',
        "<html>",
        '{"stats": 3}',
        '{"stats": [{"name": "cluster.a--1.upstream_rq_2xx", "value": 1e999}]}',
        '{"stats": [{"name": "cluster.a--1.upstream_rq_2xx", "value": -1}]}',
        '{"stats": ' + "[" * 100_000,
    ],
)
def test_other_answers_are_unreadable(text):
    with pytest.raises(Unreadable):
        parse(text)


async def test_the_first_reading_is_only_a_starting_point():
    async def respond(reader, writer):
        writer.write(answer(RECORDED))

    async with serving(respond) as port:
        counters = Counters(f"127.0.0.1:{port}")
        assert await counters.added() == {}
        assert (await counters.added())["web--4"] == Count()
        counters.close()
    assert await counters.added() == {}


def test_a_forbidden_admin_address_is_left_out():
    assert counters_of("user@127.0.0.1:9901") is None
