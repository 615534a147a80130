"""Topics: what a page can be told about, as they stand in the stream's address.

``rollout-3``, ``service-1``, ``services``, ``stack-2``. Pure; used by the stream and the hub.
"""

from __future__ import annotations

import re

from rollouts.errors import InvalidInput

MOST = 20
_TOPIC = re.compile(r"services|(rollout|service|stack|build)-[1-9][0-9]{0,17}", re.A)
_SEEN = re.compile(r"[0-9]{1,15}", re.A)


def parse_topics(text: str) -> frozenset[str]:
    """Read ``"rollout-3,service-1"``; raises InvalidInput with a sentence."""
    words = text.split(",")
    if not text:
        raise InvalidInput("topics", "Name at least one topic, as in topics=rollout-3.")
    if len(words) > MOST:
        raise InvalidInput("topics", f"At most {MOST} topics, these are {len(words)}.")
    for word in words:
        if not _TOPIC.fullmatch(word):
            raise InvalidInput(
                "topics",
                "A topic is rollout-, service-, stack- or build-<number>, or services.",
            )
    return frozenset(words)


def parse_seen(text: str) -> int | None:
    """Read a Last-Event-ID (milliseconds, Unix time); None when there is none, or InvalidInput."""
    if not text:
        return None
    if not _SEEN.fullmatch(text):
        raise InvalidInput("Last-Event-ID", "The last event id is not one of ours.")
    return int(text)


def key_of(topic: str) -> tuple[str, str]:
    """Kind and key: ("rollout", "3"), ("services", "")."""
    kind, _, key = topic.partition("-")
    return kind, key


def numbers(topics: frozenset[str], kind: str) -> list[int]:
    """The pks of the topics of one kind."""
    return [int(key) for found, key in map(key_of, topics) if found == kind]
