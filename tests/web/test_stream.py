"""``/events/`` through the ASGI handler with every middleware of the settings."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient
from django.utils import timezone

from rollouts.web import stream
from tests.test_live import _close_connections, events
from tests.web.rollout_rows import person, rolling

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def client(settings):
    settings.BROKER_URL = "memory://"
    yield AsyncClient()
    live = stream.hub()
    await live.read(_close_connections)
    live.close()


async def signed_in(client):
    user = await sync_to_async(person)()
    await client.aforce_login(user)
    return user


async def ask(client, query, **headers):
    return await client.get(f"/events/?{query}", headers=headers)


async def first(response, name):
    async with asyncio.timeout(10):
        async for chunk in response.streaming_content:
            for found, body in events(chunk):
                if found == name:
                    return body
    raise AssertionError(f"no {name}")


async def test_signed_out_people_get_401_and_no_redirect(client):
    answer = await ask(client, "topics=services")
    assert answer.status_code == 401
    assert answer.json()["error"].startswith("Signed out.")


@pytest.mark.parametrize("query", ["", "topics=", "topics=rollout-x", "topics=services&last=x"])
async def test_odd_questions_get_400_and_a_sentence(client, query):
    await signed_in(client)
    answer = await ask(client, query)
    assert answer.status_code == 400
    assert answer.json()["error"].endswith(".")


async def test_a_topic_that_is_not_there_is_404_alone_and_left_out_among_others(client):
    await signed_in(client)
    assert (await ask(client, "topics=rollout-99")).status_code == 404
    answer = await ask(client, "topics=rollout-99,services")
    assert (await first(answer, "changed"))["topic"] == "services"
    await answer.streaming_content.aclose()


async def test_the_stream_is_not_stored_buffered_or_compressed(client):
    await signed_in(client)
    answer = await ask(client, "topics=services", **{"Accept-Encoding": "gzip"})
    assert answer["Content-Type"] == "text/event-stream"
    assert answer["Cache-Control"] == "no-store"
    assert answer["X-Accel-Buffering"] == "no"
    assert answer["Content-Encoding"] == "identity"
    await first(answer, "beat")
    await answer.streaming_content.aclose()


async def test_it_resumes_from_the_last_event(client):
    await signed_in(client)
    rollout = await sync_to_async(rolling)(timezone.now())
    seen = str(int((timezone.now().timestamp() - 30) * 1000))
    answer = await ask(client, f"topics=rollout-{rollout.pk}", **{"Last-Event-ID": seen})
    assert len((await first(answer, "pt"))["p"]) >= 40
    await answer.streaming_content.aclose()


async def test_it_ends_with_the_session(client, monkeypatch):
    monkeypatch.setattr(stream, "CHECK_S", 0.0)
    await signed_in(client)
    answer = await ask(client, "topics=services")
    await first(answer, "changed")
    await client.alogout()
    again = await ask(client, "topics=services")
    assert again.status_code == 401


async def test_a_stream_ends_when_its_session_does(client, monkeypatch):
    monkeypatch.setattr(stream, "CHECK_S", 0.0)
    await signed_in(client)
    answer = await ask(client, "topics=services")
    content = answer.streaming_content
    await anext(content)
    await client.alogout()
    async with asyncio.timeout(10):
        chunks = [chunk async for chunk in content]
    assert chunks[-1].startswith(b"event: out")


async def test_one_person_cannot_open_streams_without_end(client, monkeypatch):
    monkeypatch.setattr(stream, "MOST_STREAMS", 1)
    await signed_in(client)
    answer = await ask(client, "topics=services")
    content = answer.streaming_content
    await anext(content)
    assert (await ask(client, "topics=services")).status_code == 429
    await content.aclose()
    del answer, content  # as the handler does; the generator inside ends with its last reference
    async with asyncio.timeout(5):
        again = await ask(client, "topics=services")
        while again.status_code != 200:
            await asyncio.sleep(0.01)
            again = await ask(client, "topics=services")
    await again.streaming_content.aclose()
