"""The schedule tells the truth about a service that stands still."""

import asyncio
import re
import time

import pytest

from rollouts.sampler.ledger import Row
from rollouts.sampler.reading import Reader
from rollouts.sampler.store import Wanted
from rollouts.sampler.watch import Watch
from tests.sampler.servers import always, answer, serving

SAYS_1 = answer("Hello! (Said 127.0.0.1, Version 1.0)")
PATTERN = r"Version ([^)\s]+)\)"


def watching(port, rows, *, rate=50.0, pattern=PATTERN, timeout_s=5.0):
    url = f"http://127.0.0.1:{port}"
    watch = made(Wanted(1, "echo", url, "/", rate, pattern, timeout_s), rows)
    watch.labels = {"1.0": 11}
    return watch


def unforeseen(error):
    raise error  # in a callback of the loop: it is logged, and the test waits in vain


def made(wanted, rows):
    notes: list[Row] = []
    return Watch(wanted, rows.append, note=notes.append, broken=unforeseen)


async def rows_of(watch, rows, count, deadline_s=20.0):
    watch.start()
    async with asyncio.timeout(deadline_s):
        while len(rows) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await watch.stop(0.5)
    return rows


async def test_a_stall_of_1_s_is_charged_to_every_request_that_was_due():
    rows: list[Row] = []
    began = time.time()

    async def respond(reader, writer):
        if began + 1 <= time.time() < began + 2:
            await asyncio.sleep(began + 2 - time.time())
        writer.write(SAYS_1)

    async with serving(respond) as port:
        await rows_of(watching(port, rows, rate=100), rows, 250, 20)
    hit = [row for row in rows if began + 1 <= row.at < began + 2]
    assert 99 <= len(hit) <= 101
    # 5 ms, because sleeping may end early. A busy machine adds to it, and nothing takes from it.
    assert all(row.latency_ms >= (began + 2 - row.at) * 1000 - 5 for row in hit)
    assert all(row.ok and row.version == 11 for row in rows)


@pytest.mark.parametrize(
    ("data", "ok", "status", "version"),
    [
        (SAYS_1, True, "200", 11),
        (answer("(Version 9.9)"), True, "200", None),
        (answer("nothing"), False, "unreadable", None),
        (answer("(Version 1.0)", "503 No"), False, "503", 11),
    ],
)
async def test_it_reads_the_version(data, ok, status, version):
    rows: list[Row] = []
    async with serving(always(data)) as port:
        row = (await rows_of(watching(port, rows), rows, 1))[0]
    assert (row.ok, row.status, row.version) == (ok, status, version)


async def test_without_a_pattern_every_2xx_is_good():
    rows: list[Row] = []
    async with serving(always(answer("x\x00y"))) as port:
        row = (await rows_of(watching(port, rows, pattern=""), rows, 1))[0]
    assert (row.ok, row.version, row.message) == (True, None, "x\N{REPLACEMENT CHARACTER}y")


async def test_what_does_not_fit_in_flight_is_an_error():
    rows: list[Row] = []

    async def silent(reader, writer):
        await asyncio.sleep(30)

    async with serving(silent) as port:
        watch = watching(port, rows, rate=100, timeout_s=9)
        watch._most = 20
        await rows_of(watch, rows, 5)
    assert {row.status for row in rows} == {"saturated"}
    assert not any(row.ok for row in rows)


async def test_a_forbidden_address_is_an_error_and_no_connection():
    rows: list[Row] = []
    wanted = Wanted(1, "echo", "http://169.254.169.254", "/", 100.0, "", 1.0)
    await rows_of(made(wanted, rows), rows, 2)
    assert {row.status for row in rows} == {"forbidden"}


async def test_a_standstill_of_the_sampler_is_a_gap_and_no_error(caplog):
    rows: list[Row] = []
    notes: list[Row] = []
    async with serving(always(SAYS_1)) as port:
        wanted = Wanted(1, "echo", f"http://127.0.0.1:{port}", "/", 50.0, PATTERN, 5.0)
        watch = Watch(wanted, rows.append, note=notes.append, broken=unforeseen)
        watch.start()
        async with asyncio.timeout(5):
            while len(rows) < 10:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        before = len(rows)
        stood_still_at = time.time()
        time.sleep(2.6)  # noqa: ASYNC251  that is the standstill
        async with asyncio.timeout(5):
            while len(rows) < before + 20:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await watch.stop(0.5)
    assert all(row.ok for row in rows)
    assert [row for row in rows if stood_still_at + 0.1 < row.at < stood_still_at + 2.5] == []
    (note,) = notes
    assert (note.status, note.version) == ("not sampled", None)
    assert re.fullmatch(
        r"The sampler stood still for 2\.\d s: 1[23]\d requests .* sent\.", note.message
    )
    assert note.message in caplog.text


async def test_a_time_out_that_only_our_standstill_made_is_no_error():
    rows: list[Row] = []
    notes: list[Row] = []
    arrived = asyncio.Event()

    async def silent(reader, writer):
        arrived.set()
        await asyncio.sleep(30)

    async with serving(silent) as port:
        wanted = Wanted(1, "echo", f"http://127.0.0.1:{port}", "/", 0.01, PATTERN, 0.5)
        watch = Watch(wanted, rows.append, note=notes.append, broken=unforeseen)
        watch.start()
        await arrived.wait()
        time.sleep(2.6)  # noqa: ASYNC251  that is the standstill
        async with asyncio.timeout(5):
            while not notes:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await watch.stop(0.5)
    assert rows == []
    assert notes[0].message == "The sampler stood still while it waited for answers."


async def test_what_is_still_unanswered_after_the_grace_is_counted():
    rows: list[Row] = []

    async def silent(reader, writer):
        await asyncio.sleep(30)

    async with serving(silent) as port:
        watch = watching(port, rows)
        watch.start()
        async with asyncio.timeout(5):
            while len(watch._running) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await watch.stop(0.05)
    assert watch.unanswered >= 3
    assert rows == []


def test_a_pattern_that_never_ends_is_interrupted():
    reader = Reader(r"(a+)+$")
    assert reader.label(b"a" * 40 + b"b") is None
    assert "too long" in reader.problem
    assert reader.label(b"a") is None
