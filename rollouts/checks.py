"""System checks: every mistake in the environment is one clear sentence at start-up."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register

from meshui import env


@register()
def environment(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    return [Error(mistake, id="meshui.E001") for mistake in env.MISTAKES]
