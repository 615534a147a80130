"""Reads JSON objects field by field, so that every refusal names the field that is wrong.

Called by `spec.py` and `server.py`. It knows shapes and ranges only, not what they mean.
"""

from collections.abc import Sequence
from typing import TypeVar

from rollouts.supervisor.errors import Refused

T = TypeVar("T")


class Fields:
    """One JSON object; ``at`` is its place in the request ("sets[0].health"), "" at the top."""

    def __init__(self, value: object, at: str = "") -> None:
        if not isinstance(value, dict):
            raise Refused(f"{at or 'The request'} must be an object.")
        self._fields: dict[str, object] = value
        self._at = at

    def name(self, field: str) -> str:
        return f"{self._at}.{field}" if self._at else field

    def has(self, field: str) -> bool:
        """Whether the field is there and not null."""
        return self._fields.get(field) is not None

    def only(self, known: Sequence[str]) -> None:
        """Refuse any field that is not ``known``: a misspelt one would be ignored in silence."""
        for field in self._fields:
            if field not in known:
                raise Refused(f"{self.name(field)} is not a known field.")

    def text(self, field: str, default: str | None = None) -> str:
        value = self._value(field, default)
        return self._text(value, self.name(field))

    def whole(self, field: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number from ``low`` to ``high``, both included."""
        value = self._value(field, default)
        # bool is an int in Python, but `true` is no count.
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Refused(f"{self.name(field)} must be a whole number from {low} to {high}.")
        return value

    def number(self, field: str, low: float, high: float, default: float | None = None) -> float:
        value = self._value(field, default)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high
        ):
            raise Refused(f"{self.name(field)} must be a number from {low:g} to {high:g}.")
        return float(value)

    def flag(self, field: str, default: bool | None = None) -> bool:
        value = self._value(field, default)
        if not isinstance(value, bool):
            raise Refused(f"{self.name(field)} must be true or false.")
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        """A list of at least one string."""
        value = self._value(field, None)
        if not isinstance(value, list) or not value:
            raise Refused(f"{self.name(field)} must be a list of at least one string.")
        return tuple(self._text(item, f"{self.name(field)}[{i}]") for i, item in enumerate(value))

    def mapping(self, field: str) -> dict[str, str]:
        """An object of strings; an empty one when the field is missing."""
        value = self._value(field, {})
        if not isinstance(value, dict):
            raise Refused(f"{self.name(field)} must be an object of strings.")
        return {
            self._key(key, self.name(field)): self._text(item, f"{self.name(field)}.{key}")
            for key, item in value.items()
        }

    def objects(self, field: str) -> list["Fields"]:
        value = self._value(field, None)
        if not isinstance(value, list):
            raise Refused(f"{self.name(field)} must be a list of objects.")
        return [Fields(item, f"{self.name(field)}[{i}]") for i, item in enumerate(value)]

    def inner(self, field: str) -> "Fields":
        """The object in ``field``; an empty one when the field is missing or null."""
        return Fields(self._value(field, {}) or {}, self.name(field))

    def raw(self, field: str) -> object:
        return self._fields.get(field)

    def _value(self, field: str, default: T | None) -> object:
        if field in self._fields:
            return self._fields[field]
        if default is None:
            raise Refused(f"{self.name(field)} is missing.")
        return default

    @staticmethod
    def _text(value: object, name: str) -> str:
        if not isinstance(value, str) or "\0" in value:
            raise Refused(f"{name} must be a string.")
        return value

    @staticmethod
    def _key(key: str, name: str) -> str:
        if not key or "=" in key or "\0" in key:
            raise Refused(f"{name} has a name that no environment can hold: {key!r}.")
        return key
