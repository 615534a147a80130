"""Bytes of the stream: server-sent events with JSON. Pure; used by the hub."""

from __future__ import annotations

import json
from typing import Any

RETRY = b"retry: 1000\n\n"


def frame(event: str, body: dict[str, Any], number: int) -> bytes:
    """One event. ``number`` is what a browser sends back as Last-Event-ID."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    return f"id: {number}\nevent: {event}\ndata: {text}\n\n".encode()
