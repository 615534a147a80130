"""Door: ``manage.py sampler`` asks every service as its settings say, until SIGTERM or SIGINT.

Ends with 0 then, and with 1 and a traceback after an error that nobody foresaw: the supervisor
starts it again.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import uvloop
from django.core.management.base import BaseCommand

from rollouts.live import ring
from rollouts.sampler.loop import Sampler


class Command(BaseCommand):
    help = "Samples the services of every mesh and reads the counters of their Envoys."
    # They load every page; ``up`` has made them already.
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_sample())


async def _sample() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await Sampler(ring).run(stop)
