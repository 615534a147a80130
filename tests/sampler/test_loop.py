"""The whole sampler with its writer thread and a real database."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from django.db import DataError, OperationalError

from rollouts.models import Heartbeat, Mesh, Sample, Service, Version
from rollouts.sampler import store
from rollouts.sampler.counters import Counters
from rollouts.sampler.ledger import Ledger
from rollouts.sampler.loop import Sampler
from rollouts.sampler.watch import Watch
from tests.sampler.database import locked, rows
from tests.sampler.servers import always, answer, serving

pytestmark = pytest.mark.django_db(transaction=True)
SAYS_1 = answer("(Version 1.0)")


def a_service(port: int, *, counters=False, **fields) -> tuple[Service, Version]:
    url = f"http://127.0.0.1:{port}"
    options = {"admin": [f"127.0.0.1:{port}"]} if counters else {}
    mesh = Mesh.objects.create(slug="local", name="L", public_url=url, settings=options)
    fields = {"sample_path": "/", "sample_rate": 50, **fields}
    service = Service.objects.create(mesh=mesh, slug="echo", name="echo.local", **fields)
    return service, Version.objects.create(service=service, number=1, label="1.0", digest="x")


@asynccontextmanager
async def sampling(rings):
    stop, sampler = asyncio.Event(), Sampler(rings.append)
    running = asyncio.create_task(sampler.run(stop))
    try:
        yield sampler
    finally:
        stop.set()
        async with asyncio.timeout(5):
            await running


async def until(holds, deadline_s=15.0):
    async with asyncio.timeout(deadline_s):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def unanswered(*watches: Watch) -> int:
    return sum(watch.unanswered for watch in watches)


def requests_of(service: Service) -> int:
    return sum(bucket.requests for bucket in service.buckets.filter(source="sampler"))


async def test_it_stores_rings_beats_and_follows_changes():
    rings: list[str] = []
    async with serving(always(SAYS_1)) as port:
        service, version = await rows(lambda: a_service(port))
        async with sampling(rings) as sampler:
            await until(lambda: len(rings) >= 2)
            await rows(lambda: Service.objects.update(sample_rate=0))
            await until(lambda: not sampler.watches)
    buckets = await rows(lambda: list(service.buckets.all()))
    assert {b.version_id for b in buckets} == {version.pk}
    assert sum(b.requests for b in buckets) >= 20
    assert set(rings) == {f"service-{service.pk}"}
    assert await rows(Sample.objects.filter(ok=True).exists)
    assert await rows(Heartbeat.objects.filter(name="sampler").exists)


async def test_nothing_is_lost_while_the_database_is_locked(caplog):
    rings: list[str] = []
    asked = 0

    async def respond(reader, writer):
        nonlocal asked
        asked += 1
        writer.write(SAYS_1)

    async with serving(respond) as port:
        service, _ = await rows(lambda: a_service(port, sample_rate=30))
        async with sampling(rings) as sampler:
            await until(lambda: sampler.watches and rings)
            async with locked():
                await until(lambda: sampler._away)
                rings.clear()
                before = asked
                await until(lambda: asked > before + 60)
                assert rings == []
            await until(lambda: rings)
            assert not sampler._away
            watches = list(sampler.watches.values())
    stored = await rows(lambda: requests_of(service))
    # An answer that a busy machine brings after the grace is counted by the one who gave it up.
    assert asked - unanswered(*watches) <= stored <= asked
    assert "keeping the newest 60 s" in caplog.text


async def test_it_ends_soon_and_with_every_answer_that_comes_within_the_grace():
    arrived = asyncio.Event()

    async def slow(reader, writer):
        arrived.set()
        await asyncio.sleep(0.1)
        writer.write(SAYS_1)

    async with serving(slow) as port:
        service, version = await rows(lambda: a_service(port, sample_rate=0.5))
        async with sampling([]):
            await arrived.wait()
    (bucket,) = await rows(lambda: list(service.buckets.filter(version=version)))
    assert (bucket.requests, bucket.errors) == (1, 0)


async def test_a_request_in_flight_survives_a_change_of_the_settings():
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def respond(reader, writer):
        arrived.set()
        await go_on.wait()
        writer.write(SAYS_1)

    async with serving(respond) as port:
        service, _ = await rows(lambda: a_service(port, sample_rate=0.5))
        async with sampling([]) as sampler:
            await arrived.wait()
            await rows(lambda: Service.objects.update(sample_rate=0))
            await until(lambda: not sampler.watches)
            go_on.set()
            await until(lambda: not sampler._retired)
    assert await rows(lambda: [b.requests for b in service.buckets.all()]) == [1]


@pytest.mark.parametrize(
    ("owner", "method"),
    [
        (Watch, "_note"),
        (Watch, "_launch"),
        (Counters, "added"),
        (store.Plans, "read"),
        (Ledger, "record"),
    ],
)
async def test_an_error_that_nobody_foresaw_ends_it_loudly(owner, method, monkeypatch):
    """Wherever it happens, and with everything stored that was seen before."""
    good = getattr(owner, method)
    calls = 0

    def fails_later(self, *args, **kwargs):
        nonlocal calls
        calls += 1
        if calls > 2:
            raise ZeroDivisionError(method)
        return good(self, *args, **kwargs)

    monkeypatch.setattr(owner, method, fails_later)
    async with serving(always(SAYS_1)) as port:
        await rows(lambda: a_service(port, counters=True))
        with pytest.raises(ZeroDivisionError, match=method):
            async with asyncio.timeout(10):
                await Sampler(lambda topic: None).run(asyncio.Event())
    assert await rows(Heartbeat.objects.filter(name="sampler").exists)


async def test_a_row_that_the_database_refuses_ends_it_loudly(monkeypatch):
    """Trying it again and again would keep every other row out."""

    def refused(row):
        raise DataError("out of range")

    monkeypatch.setattr(store, "_sample", refused)
    async with serving(always(SAYS_1)) as port:
        await rows(lambda: a_service(port))
        with pytest.raises(DataError):
            async with asyncio.timeout(10):
                await Sampler(lambda topic: None).run(asyncio.Event())


async def test_a_database_that_hangs_holds_up_neither_requests_nor_the_end(monkeypatch, caplog):
    hanging, release, asked = asyncio.Event(), asyncio.Event(), 0
    loop = asyncio.get_running_loop()

    def hang(batch, now):
        loop.call_soon_threadsafe(hanging.set)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(20)
        raise OperationalError

    async def respond(reader, writer):
        nonlocal asked
        asked += 1
        writer.write(SAYS_1)

    async with serving(respond) as port:
        await rows(lambda: a_service(port))
        monkeypatch.setattr(store, "write", hang)
        async with sampling([]):
            await hanging.wait()
            await until(lambda: asked > 20)
            began = loop.time()
        assert loop.time() - began < 2
        release.set()
    assert "The database does not answer." in caplog.text
