"""Reads settings from the environment and keeps every mistake as a sentence for the system checks.

Called by ``settings`` only. A wrong value never stops the import: ``manage.py check`` and every
start-up print all mistakes at once, each naming its variable.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

import environ

MISTAKES: list[str] = []


def text(name: str, default: str) -> str:
    return os.environ.get(name, default).strip()


def number(name: str, default: int, least: int, most: int) -> int:
    raw = text(name, str(default))
    if not (raw.isascii() and raw.isdigit() and least <= int(raw) <= most):
        MISTAKES.append(f"{name} must be a whole number from {least} to {most}, not {raw!r}.")
        return default
    return int(raw)


def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    raw = text(name, default)
    if raw not in allowed:
        MISTAKES.append(f"{name} must be one of {', '.join(allowed)}, not {raw!r}.")
        return default
    return raw


def flag(name: str, *, default: bool) -> bool:
    return choice(name, "1" if default else "0", ("0", "1")) == "1"


def words(name: str, default: str) -> list[str]:
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def database(default: str) -> dict[str, object]:
    """The DATABASE_URL as Django wants it; SQLite and PostgreSQL."""
    url = text("DATABASE_URL", default)
    if not url.startswith(("sqlite:///", "postgres://", "postgresql://")):
        MISTAKES.append(
            f"DATABASE_URL must start with sqlite:/// or postgres://, not {url[:20]!r}."
        )
        url = default
    return dict(environ.Env.db_url_config(url))


def secret_key(folder: Path) -> str:
    """MESHUI_SECRET_KEY, or a key that is made once and kept in the state folder (mode 600)."""
    given = os.environ.get("MESHUI_SECRET_KEY")
    if given is not None:
        if len(given) < 32:
            MISTAKES.append("MESHUI_SECRET_KEY must have at least 32 characters.")
        return given or secrets.token_urlsafe(48)
    path = folder / "secret-key"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _make_secret(path)
    key = path.read_text()
    if not key:
        MISTAKES.append(f"{path} is empty: delete it, and a new key is made.")
    return key or secrets.token_urlsafe(48)


def _make_secret(path: Path) -> None:
    """Write the key whole or not at all: a sibling process may be reading at this moment."""
    draft = path.with_name(f"secret-key.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(48))
    with suppress(FileExistsError):  # a sibling was first: its key is the key
        os.link(draft, path)
    draft.unlink()
