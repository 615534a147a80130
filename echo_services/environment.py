"""Reads and checks the settings that the two programs take from the environment.

Called by ``server.py``, ``client.py`` and ``rehearsal.py`` while they start. A variable that is
unset or empty has its default: container descriptions cannot leave one out. It must not read the
environment itself; the mapping is an argument.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

Environment = Mapping[str, str]

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
# A version travels as a gRPC metadata value and as an HTTP header.
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_HOST_AND_PORT = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")
_AUTHORITY = re.compile(r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Tls:
    """Speak TLS. ``ca``: the authorities to trust, PEM; None: those that everybody trusts."""

    ca: bytes | None


class SettingError(Exception):
    """A variable has a value that the program cannot run with; the text is for a person."""

    def __init__(self, variable: str, wanted: str, value: str) -> None:
        super().__init__(f"{variable} must be {wanted}, not {value!r}.")


def number(env: Environment, variable: str, default: float, *, most: float) -> float:
    """A number from 0 to ``most``. Raises SettingError."""
    value = env.get(variable) or str(default)
    wanted = f"a number from 0 to {most:g}"
    try:
        found = float(value)
    except ValueError:
        raise SettingError(variable, wanted, value) from None
    # Written so that NaN is refused too.
    if not 0 <= found <= most:
        raise SettingError(variable, wanted, value)
    return found


def whole(env: Environment, variable: str, default: int, *, least: int, most: int) -> int:
    """A whole number from ``least`` to ``most``. Raises SettingError."""
    value = env.get(variable) or str(default)
    # Nine digits hold every limit in use, and int() refuses absurdly long ones with its own words.
    if not re.fullmatch("[0-9]{1,9}", value) or not least <= int(value) <= most:
        raise SettingError(variable, f"a whole number from {least} to {most}", value)
    return int(value)


def port(env: Environment, default: int) -> int:
    """PORT: where to listen. Raises SettingError."""
    return whole(env, "PORT", default, least=1, most=65535)


def host(env: Environment) -> str:
    """HOST: the IP address to listen on, loopback unless told. Raises SettingError."""
    value = env.get("HOST") or "127.0.0.1"
    try:
        return str(ip_address(value))
    except ValueError:
        raise SettingError("HOST", "an IP address such as 127.0.0.1 or 0.0.0.0", value) from None


def switch(env: Environment, variable: str) -> bool:
    """1 for on; 0, empty or unset for off. Raises SettingError."""
    value = env.get(variable) or "0"
    if value not in {"0", "1"}:
        raise SettingError(variable, "0 or 1", value)
    return value == "1"


def version(env: Environment) -> str:
    """VERSION: which version this is, as it will be said and sent. Raises SettingError."""
    value = env.get("VERSION") or "1.0"
    if not _VERSION.fullmatch(value):
        raise SettingError("VERSION", "1 to 64 letters, digits, dots, dashes, + or _", value)
    return value


def endpoint(env: Environment, variable: str, default: str) -> str:
    """``host:port`` of somebody else's server. Raises SettingError."""
    value = env.get(variable) or default
    found = _HOST_AND_PORT.fullmatch(value)
    if not found or not 1 <= int(found["port"]) <= 65535:
        raise SettingError(variable, "host:port", value)
    return value


def authority(env: Environment, variable: str) -> str | None:
    """The HTTP/2 ``:authority`` to send, None to send the endpoint. Raises SettingError."""
    value = env.get(variable) or None
    if value and not _AUTHORITY.fullmatch(value):
        raise SettingError(variable, "a host name, with or without a port", value)
    return value


def tls(env: Environment) -> Tls | None:
    """SERVER_TLS, with SERVER_CA (PEM) or SERVER_CA_FILE (a path). Raises SettingError."""
    if not switch(env, "SERVER_TLS"):
        return None
    if text := env.get("SERVER_CA"):
        return Tls(_certificates("SERVER_CA", text[:40], text))
    if path := env.get("SERVER_CA_FILE"):
        try:
            return Tls(_certificates("SERVER_CA_FILE", path, Path(path).read_text("ascii")))
        except (OSError, UnicodeDecodeError):
            raise SettingError("SERVER_CA_FILE", "a file that can be read", path) from None
    return Tls(None)


def _certificates(variable: str, value: str, text: str) -> bytes:
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise SettingError(variable, "certificates in PEM form", value)
    return text.encode()


def log_level(env: Environment) -> str:
    """LOG_LEVEL: one of LOG_LEVELS. Raises SettingError."""
    value = env.get("LOG_LEVEL") or "WARNING"
    if value not in LOG_LEVELS:
        raise SettingError("LOG_LEVEL", f"one of {', '.join(LOG_LEVELS)}", value)
    return value
