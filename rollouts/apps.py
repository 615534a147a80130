"""The Django app: its name, and its system checks."""

from django.apps import AppConfig


class RolloutsConfig(AppConfig):
    name = "rollouts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from rollouts import checks  # noqa: F401  registers the system checks
