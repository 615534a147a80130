"""``manage.py enter``: prints a one-time link that signs the first administrator in."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from rollouts import clock
from rollouts.management.welcome import dashboard
from rollouts.web.first_login import make_link


class Command(BaseCommand):
    help = "Prints a link that signs the first administrator in, once, within an hour."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{dashboard()}{make_link(clock.moment().now)}")
