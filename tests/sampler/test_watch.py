"""The schedule tells the truth about a service that stands still."""

import asyncio

import pytest

from rollouts.domain.traffic import Histogram
from rollouts.sampler.ledger import Row
from rollouts.sampler.reading import Reader
from rollouts.sampler.store import Wanted
from rollouts.sampler.watch import Watch
from tests.sampler.servers import always, answer, serving

SAYS_1 = answer("Hello! (Said 127.0.0.1, Version 1.0)")
PATTERN = r"Version ([^)\s]+)\)"


def watching(port, rows, *, rate=50.0, pattern=PATTERN, timeout_s=5.0):
    url = f"http://127.0.0.1:{port}"
    watch = Watch(Wanted(1, "echo", url, "/", rate, pattern, timeout_s), rows.append)
    watch.labels = {"1.0": 11}
    return watch


async def rows_of(watch, rows, count, deadline_s=5.0):
    watch.start()
    async with asyncio.timeout(deadline_s):
        while len(rows) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await watch.stop()
    return rows


async def test_a_stall_of_1_s_is_charged_to_every_request_that_was_due():
    """Of 4 s, one quarter waits uniformly 0–1 s: p87.5 is 0.5 s, p95 is 0.8 s."""
    rows: list[Row] = []
    began = asyncio.get_running_loop().time()

    async def respond(reader, writer):
        at = asyncio.get_running_loop().time() - began
        if 1 <= at < 2:
            await asyncio.sleep(2 - at)
        writer.write(SAYS_1)

    async with serving(respond) as port:
        await rows_of(watching(port, rows, rate=100), rows, 400, 8)
    latency = Histogram()
    for row in rows[:400]:
        latency.record(row.latency_ms)
    assert latency.percentile(0.875) == pytest.approx(500, rel=0.08)
    assert latency.percentile(0.95) == pytest.approx(800, rel=0.05)
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
    await rows_of(Watch(wanted, rows.append), rows, 2)
    assert {row.status for row in rows} == {"forbidden"}


def test_a_pattern_that_never_ends_is_interrupted():
    reader = Reader(r"(a+)+$")
    assert reader.label(b"a" * 40 + b"b") is None
    assert "too long" in reader.problem
    assert reader.label(b"a") is None
