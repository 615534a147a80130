"""The whole product, started with ``manage.py up``, and a service in it to measure with.

Acts as a person does, through ``doors``, from the benchmark's own process; ticks by itself as well,
so that preparing a trial does not wait for a worker. What is measured goes through the web.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.utils import timezone

from rollouts import actions, clock, doors, reconcile
from rollouts.domain.plan import Step
from rollouts.domain.state import Phase, Stage
from rollouts.models import Mesh, Rollout, Service, Stack
from rollouts.supervisor.client import SupervisorClient, SupervisorUnreachable

STABLE, NEW = "0.9", "1.0"
PASSWORD = "correct horse battery staple"  # of a user that lives as long as the run
HOUR_S = 3600
PATH = "/bench/"


def until(holds: Callable[[], object], within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Not within {within_s:g} s: {what}.")
        time.sleep(0.02)


class Product:
    """Use as a context manager; the service ``bench`` then serves 0.9 and can be given 1.0."""

    def __enter__(self) -> Product:
        settings.STATE.mkdir(parents=True, exist_ok=True)
        self._log = (settings.STATE / "up.log").open("wb")
        manage = str(settings.BASE_DIR / "manage.py")
        self._process = subprocess.Popen(
            [sys.executable, manage, "up"], stdout=self._log, stderr=self._log
        )
        try:
            until(self._is_ready, 90, f"the local mesh is ready (see {self._log.name})")
            self.user = _operator()
            self.service = self._add_service()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(40)
        self._log.close()

    def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(Path(self._log.name).read_text()[-2000:])
        client = SupervisorClient(settings.SUPERVISOR_SOCKET)
        try:
            # Not before: a database opened while its tables are made would be read as it was.
            web = [p["state"] for p in client.processes() if p["name"] == "web"]
        except SupervisorUnreachable:
            return False
        return web == ["running"] and Stack.objects.filter(phase="ready").exists()

    def ask(self) -> actions.Ask:
        return actions.Ask(by=self.user, source="cli", now=timezone.now())

    def _add_service(self) -> Service:
        columns = {
            "slug": "bench", "name": "bench.echo.local", "protocol": "http",
            "public_prefix": PATH, "health_kind": "tcp", "sample_path": "", "sample_rate": 0.0,
            "sample_pattern": "", "abort_delay_s": HOUR_S, "scale_down_delay_s": HOUR_S,
        }  # fmt: skip
        mesh = Mesh.objects.get()
        service = doors.act(actions.add_service, mesh, columns, ask=self.ask())
        for label in (STABLE, NEW):
            command = ["{python}", "-m", "tests.benchmarks.backend", "{port}", label]
            doors.act(
                actions.add_version, service, label=label, command=command, environment={},
                ask=self.ask(),
            )  # fmt: skip
        self.deploy(STABLE, (Step(100),))
        self.tick_until(lambda rollout: rollout.phase == Phase.SUCCEEDED)
        return service

    def deploy(self, label: str, plan: Sequence[Step]) -> Rollout:
        service = Service.objects.get(slug="bench")
        version = service.versions.get(label=label)
        return doors.act(
            actions.request_deploy, service, version, plan=tuple(plan), plan_name="bench",
            ask=self.ask(),
        )  # fmt: skip

    def tick_until(self, holds: Callable[[Rollout], bool], within_s: float = 20) -> Rollout:
        """Tick the service until its newest rollout is as wanted; return that."""

        def there() -> bool:
            service = Service.objects.get(slug="bench")
            if holds(service.rollouts.select_related("to_version")[0]):
                return True
            reconcile.tick(service.pk, clock.moment())
            return False

        until(there, within_s, "the rollout is where the benchmark wants it")
        return Service.objects.get(slug="bench").rollouts.all()[0]

    def hold(self, step: int) -> Rollout:
        """Tick until every proxy has confirmed the weight of the step."""
        return self.tick_until(lambda r: (r.step, r.stage) == (step, Stage.HOLD))

    def pids(self, *names: str) -> list[int]:
        found = {
            p["name"]: p["pid"] for p in SupervisorClient(settings.SUPERVISOR_SOCKET).processes()
        }
        return [found[name] for name in names]

    @contextmanager
    def frozen(self, *names: str) -> Iterator[None]:
        """Stop the processes with SIGSTOP: they hold their connections and answer nothing."""
        pids = self.pids(*names)
        # Inside a transaction: SQLite has one writer, and whoever is stopped while it writes locks
        # the database until it goes on. (One that is killed does not.)
        with transaction.atomic():
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


def _operator() -> User:
    """Not an administrator: their permissions are read from the database at every click."""
    user = User.objects.create_user("bench", password=PASSWORD)
    user.groups.add(Group.objects.get(name="operator"))
    return user
