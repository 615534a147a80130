"""The bell: one word over the broker, "topic changed", so that pages need not wait for a poll.

The only module that knows the broker's client. A lost ring costs half a second, never news.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable

import redis
from django.conf import settings
from redis import asyncio as redis_async
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

CHANNEL = "meshui.bell"
CONNECT_S = 0.02
ANSWER_S = 0.03
SKIP_S = 1.0
AGAIN_S = 0.5
log = logging.getLogger(__name__)


class Bell:
    """Rings over one broker. After a failure it stays silent for ``SKIP_S`` seconds."""

    def __init__(self, url: str) -> None:
        self._silent_until = 0.0
        self._client: redis.Redis | None = None
        if url.startswith(("redis://", "rediss://")):
            self._client = redis.Redis.from_url(
                url,
                socket_connect_timeout=CONNECT_S,
                socket_timeout=ANSWER_S,
                retry=Retry(NoBackoff(), 0),
            )

    def ring(self, topic: str) -> bool:
        """Say that ``topic`` changed; True when the broker took it. Never raises, ≤ 50 ms."""
        if self._client is None or time.monotonic() < self._silent_until:
            return False
        try:
            self._client.publish(CHANNEL, topic)
        except (redis.RedisError, OSError):
            # No log line: the broker's absence is reported by those who need it, not by the bell.
            self._silent_until = time.monotonic() + SKIP_S
            return False
        return True

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


_lock = threading.Lock()
_bells: dict[str, Bell] = {}


def ring(topic: str) -> bool:
    """Say over the configured broker that ``topic`` ("rollout-3", "services") changed.

    True when the broker took it; a caller need not care. Never raises, takes at most 50 ms.
    """
    url = settings.BROKER_URL
    with _lock:
        bell = _bells.get(url) or _bells.setdefault(url, Bell(url))
    return bell.ring(topic)


async def listen(url: str, heard: Callable[[str], None], alive: Callable[[bool], None]) -> None:
    """Call ``heard(topic)`` for every ring, until cancelled.

    ``alive`` tells whether the broker is there. One connection for the whole process.
    """
    if not url.startswith(("redis://", "rediss://")):
        return
    while True:
        client = redis_async.Redis.from_url(
            url,
            socket_connect_timeout=1.0,
            socket_timeout=None,  # a subscriber waits for as long as nothing happens
            decode_responses=True,
            retry=AsyncRetry(NoBackoff(), 0),
        )
        try:
            async with client.pubsub(ignore_subscribe_messages=True) as subscription:
                await subscription.subscribe(CHANNEL)
                alive(True)
                async for message in subscription.listen():
                    heard(str(message["data"]))
        except (redis.RedisError, OSError) as error:
            log.debug("The bell is silent: %s", error)
        finally:
            alive(False)
            await client.aclose()
        await asyncio.sleep(AGAIN_S)
