"""The whole sampler with its writer thread and a real database."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError

from rollouts.models import Heartbeat, Mesh, Sample, Service, Version
from rollouts.sampler import store
from rollouts.sampler.loop import Sampler
from tests.sampler.servers import always, answer, serving

pytestmark = pytest.mark.django_db(transaction=True)


def a_service(port: int) -> tuple[Service, Version]:
    mesh = Mesh.objects.create(slug="local", name="L", public_url=f"http://127.0.0.1:{port}")
    service = Service.objects.create(
        mesh=mesh, slug="echo", name="echo.local", sample_path="/", sample_rate=50
    )
    return service, Version.objects.create(service=service, number=1, label="1.0", digest="x")


@asynccontextmanager
async def sampling(rings):
    stop, sampler = asyncio.Event(), Sampler(rings.append)
    running = asyncio.create_task(sampler.run(stop))
    try:
        yield sampler
    finally:
        stop.set()
        async with asyncio.timeout(1):
            await running


async def until(holds, deadline_s=6.0):
    async with asyncio.timeout(deadline_s):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_it_stores_rings_beats_and_follows_changes():
    rings: list[str] = []
    async with serving(always(answer("(Version 1.0)"))) as port:
        service, version = await sync_to_async(a_service)(port)
        async with sampling(rings) as sampler:
            await until(lambda: len(rings) >= 2)
            await sampler._in_writer(lambda: Service.objects.update(sample_rate=0))
            await until(lambda: not sampler.watches)
    buckets = await sync_to_async(lambda: list(service.buckets.all()))()
    assert {b.version_id for b in buckets} == {version.pk}
    assert sum(b.requests for b in buckets) >= 50
    assert set(rings) == {f"service-{service.pk}"}
    assert await sync_to_async(Sample.objects.filter(ok=True).exists)()
    assert await sync_to_async(Heartbeat.objects.filter(name="sampler").exists)()


async def test_nothing_is_lost_while_the_database_is_away(monkeypatch, caplog):
    rings: list[str] = []
    asked = 0
    write = store.write

    async def respond(reader, writer):
        nonlocal asked
        asked += 1
        writer.write(answer("(Version 1.0)"))

    def locked(batch, now):
        raise OperationalError("database is locked")

    async with serving(respond) as port:
        service, _ = await sync_to_async(a_service)(port)
        monkeypatch.setattr(store, "write", locked)
        async with sampling(rings) as sampler:
            await until(lambda: asked > 60)
            assert rings == []
            monkeypatch.setattr(store, "write", write)
            await until(lambda: rings)
            assert not sampler._away
    stored = await sync_to_async(lambda: sum(b.requests for b in service.buckets.all()))()
    assert asked - 2 <= stored <= asked
    assert "database is locked" in caplog.text
