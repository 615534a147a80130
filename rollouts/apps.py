"""The Django app: its name, and its system checks."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class RolloutsConfig(AppConfig):
    name = "rollouts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from rollouts import checks, roles  # noqa: F401  the checks register themselves

        post_migrate.connect(roles.create_groups, sender=self)
