"""The one-time link with which the first administrator enters a fresh installation.

``make_link`` is called by the ``up`` command, ``consume`` by the /enter/ page. The state folder
holds the SHA-256 of the token and when it ends, never the token itself.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.urls import reverse

VALID_FOR = timedelta(hours=1)


def _place() -> Path:
    return Path(settings.STATE) / "first-login"


def make_link(now: datetime) -> str:
    """Path of a link that works once, for an hour; an earlier link stops working."""
    token = secrets.token_urlsafe(32)
    row = {"sha256": _hash(token), "until": (now + VALID_FOR).timestamp()}
    place = _place()
    draft = place.with_name(f"{place.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(row, file)
    draft.replace(place)
    return reverse("enter", args=[token])


def is_valid(token: str, now: datetime) -> bool:
    """Would ``consume`` accept the token? Changes nothing."""
    try:
        row = json.loads(_place().read_text())
        fits = hmac.compare_digest(str(row["sha256"]), _hash(token))
        return fits and now.timestamp() < float(row["until"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def consume(token: str, now: datetime) -> bool:
    """Use the token up. Of two requests at the same moment only one gets True."""
    if not is_valid(token, now):
        return False
    try:
        _place().unlink()
    except FileNotFoundError:
        return False  # the other request was faster
    return True


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
