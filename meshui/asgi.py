"""The ASGI door: uvicorn runs ``meshui.asgi:application``.

Django gives each request a thread of its own and ends it with the request, and the thread's
database connection with it. Here threads are kept for the next request: opening SQLite again costs
about a millisecond, which a rollback would wait for.
"""

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import ThreadSensitiveContext
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "meshui.settings")
django = get_asgi_application()
Message = MutableMapping[str, Any]

_idle: deque[ThreadPoolExecutor] = deque()


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Mapping[str, Any]], Awaitable[None]],
) -> None:
    """Serve one request on a kept thread."""
    thread = _idle.pop() if _idle else ThreadPoolExecutor(1)
    try:
        async with ThreadSensitiveContext(executor=thread):
            await django(scope, receive, send)
    finally:
        # Free for others only when it is free: a view whose client left may still be running on it.
        loop = asyncio.get_running_loop()
        done = thread.submit(lambda: None)
        done.add_done_callback(lambda _: loop.call_soon_threadsafe(_idle.append, thread))
