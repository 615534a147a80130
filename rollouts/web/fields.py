"""Fields that forms of the dashboard are made of: strict about characters, clear about why.

Used by every form of ``web``. They know nothing of rows.
"""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator

from rollouts.errors import InvalidInput
from rollouts.web.asks import without_controls


class Line(forms.CharField):
    """One line of visible characters."""

    def clean(self, value: Any) -> str:
        text = str(super().clean(value))
        try:
            return without_controls("", text)
        except InvalidInput as error:
            raise ValidationError(str(error)) from error


class Lines(forms.CharField):
    """Several lines, each of visible characters; tabs are spaces."""

    widget = forms.Textarea

    def clean(self, value: Any) -> str:
        text = str(super().clean(value)).replace("\r\n", "\n").replace("\t", " ")
        for number, line in enumerate(text.split("\n"), 1):
            try:
                without_controls("", line)
            except InvalidInput as error:
                raise ValidationError(f"Line {number}: {error}") from error
        return text


class NumberField(forms.IntegerField):
    """A whole number in 0–9 only: no other digits, no +1, no 1.0, no spaces inside."""

    def to_python(self, value: Any) -> int | None:
        text = str(value).strip() if value is not None else ""
        if text and not re.fullmatch(r"-?[0-9]{1,12}", text, re.A):
            raise ValidationError("Use a whole number, as in 60.")
        return int(text) if text else None


class RealField(forms.Field):
    """A plain decimal number: no exponent, NaN or infinity."""

    def __init__(self, *, min_value: float, max_value: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.validators += [MinValueValidator(min_value), MaxValueValidator(max_value)]

    def to_python(self, value: Any) -> float | None:
        text = str(value).strip() if value is not None else ""
        if text and not re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{1,6})?", text, re.A):
            raise ValidationError("Use a number, as in 2.5.")
        return float(text) if text else None
