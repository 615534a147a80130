"""One GET against real servers that behave badly."""

import asyncio
import socket

import pytest
import uvloop

from rollouts.sampler.addresses import target_of
from rollouts.sampler.probe import BODY_BYTES, Probe
from tests.sampler.servers import always, answer, serving


def probe(port: int, timeout_s: float = 1.0) -> Probe:
    return Probe(target_of(f"http://127.0.0.1:{port}", "/hello"), timeout_s)


async def test_it_keeps_its_connection():
    peers = set()

    async def respond(reader, writer):
        peers.add(writer.get_extra_info("peername"))
        writer.write(answer("hi"))

    async with serving(respond) as port:
        asking = probe(port)
        assert [(await asking.get()).body for _ in range(5)] == [b"hi"] * 5
        asking.close()
    assert len(peers) == 1


async def test_a_redirect_is_recorded_and_not_followed():
    asked = []

    async def respond(reader, writer):
        asked.append(1)
        writer.write(answer("", "302 Found", "Location: http://169.254.169.254/\r\n"))

    async with serving(respond) as port:
        got = await probe(port).get()
    assert (got.status, got.ok, len(asked)) == ("302", False, 1)


async def test_a_10_gb_body_is_cut():
    sent = 0

    async def respond(reader, writer):
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            sent += 65536
            await writer.drain()

    async with serving(respond) as port:
        got = await probe(port).get()
    assert got.status == "too large"
    assert len(got.body) == BODY_BYTES
    assert sent < 50_000_000


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (answer("no", "503 Service Unavailable"), "503"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "200"),
        (b"SSH-2.0-OpenSSH\r\n", "unreadable"),
    ],
)
async def test_it_names_what_it_got(data, status):
    async with serving(always(data)) as port:
        asking = probe(port)
        assert (await asking.get()).status == status
        asking.close()


async def test_it_tells_how_it_failed():
    async def hang_up(reader, writer):
        writer.transport.abort()

    async def half(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi")
        writer.close()

    async def silent(reader, writer):
        await asyncio.sleep(5)

    for respond, status in ((hang_up, "reset"), (half, "reset"), (silent, "time-out")):
        async with serving(respond) as port:
            assert (await probe(port, 0.2).get()).status == status
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert (await probe(closed.getsockname()[1]).get()).status == "refused"


def test_it_works_on_the_event_loop_of_the_real_process():
    async def ask() -> str:
        async with serving(always(answer("hi"))) as port:
            asking = probe(port)
            got = await asking.get()
            asking.close()
            return got.status

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(ask()) == "200"
