"""``manage.py supervisor``: the supervisor alone, with Envoy and the tasks of the local mesh.

For a deployment in which every other process is started by something else, such as containers.
On one machine ``up`` does this and the rest.
"""

from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from rollouts.supervisor.errors import AlreadyRunning
from rollouts.supervisor.supervisor import run


class Command(BaseCommand):
    help = "Runs tasks and Envoy of the local mesh, as workers ask for them."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            sys.exit(run((), settings.STATE, self.stdout.write))
        except AlreadyRunning as error:
            raise CommandError(str(error)) from error
