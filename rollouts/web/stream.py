"""``/events/``: the one live stream of a browser.

Signs in like every page but answers JSON, not a redirect: an EventSource cannot follow one. What
goes through it is made by ``live``; nothing here reads a rollout.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from importlib import import_module
from weakref import WeakKeyDictionary

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, aget_user, get_user_model
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe

from rollouts.errors import InvalidInput
from rollouts.live.hub import Hub
from rollouts.live.topics import key_of, parse_seen, parse_topics
from rollouts.models import Build, Rollout, Service, Stack

MOST_STREAMS = 24  # of one person in one web process; a browser needs one
CHECK_S = 10.0
_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()
_open: Counter[int] = Counter()


def hub() -> Hub:
    """The hub of this process (of this event loop, strictly: tests have many)."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub(settings.BROKER_URL)
    return _hubs[loop]


@login_not_required
@require_safe
async def events(request: HttpRequest) -> HttpResponseBase:
    """Stream the topics asked for, from Last-Event-ID on."""
    user = await aget_user(request)
    if not user.is_authenticated or user.pk is None:
        return _refuse(401, "Signed out. Sign in to see live data.")
    try:
        topics = parse_topics(request.GET.get("topics", ""))
        seen = parse_seen(request.headers.get("Last-Event-ID") or request.GET.get("last", ""))
    except InvalidInput as error:
        return _refuse(400, str(error))
    live = hub()
    topics = await live.read(_existing, topics)
    if not topics:
        return _refuse(404, "There is nothing by that name any more.")
    if _open[user.pk] >= MOST_STREAMS:
        return _refuse(429, f"You have {MOST_STREAMS} live pages open already. Close some.")
    chunks = _until_signed_out(live, topics, seen, user.pk, request.session.session_key or "")
    response = StreamingHttpResponse(chunks, content_type="text/event-stream")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    response["Content-Encoding"] = "identity"  # keeps GZipMiddleware, which would buffer, away
    return response


def _refuse(status: int, sentence: str) -> JsonResponse:
    response = JsonResponse({"error": sentence}, status=status)
    response["Cache-Control"] = "no-store"
    return response


async def _until_signed_out(
    live: Hub, topics: frozenset[str], seen: int | None, user: int, session: str
) -> AsyncIterator[bytes]:
    _open[user] += 1
    checked = time.monotonic()
    stream = live.stream(topics, seen)
    try:
        async for chunk in stream:
            if time.monotonic() - checked > CHECK_S:
                checked = time.monotonic()
                if not await live.read(still_signed_in, session, user):
                    yield b"event: out\ndata: {}\n\n"
                    return
            if chunk is not None:
                yield chunk
    finally:
        _open[user] -= 1
        await stream.aclose()


def still_signed_in(session: str, user: int) -> bool:
    """Does the session still exist, for this person, active, with the same password?"""
    store = import_module(settings.SESSION_ENGINE).SessionStore(session)
    found = get_user_model().objects.filter(pk=user, is_active=True).first()
    if found is None or store.get(SESSION_KEY) != str(user):
        return False
    return constant_time_compare(store.get(HASH_SESSION_KEY, ""), found.get_session_auth_hash())


def _existing(topics: frozenset[str]) -> frozenset[str]:
    """The topics that name something; one page of a deleted thing must not silence the others."""
    return frozenset(topic for topic in topics if _exists(topic))


def _exists(topic: str) -> bool:
    kind, key = key_of(topic)
    if kind == "rollout":
        return Rollout.objects.filter(pk=int(key)).exists()
    if kind == "service":
        return Service.objects.filter(pk=int(key)).exists()
    if kind == "build":
        return Build.objects.filter(pk=int(key)).exists()
    return kind == "services" or Stack.objects.filter(pk=int(key)).exists()
