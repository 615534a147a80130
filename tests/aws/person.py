"""A person at the pages of a mesh on AWS, and the worker behind them, both in this process.

``Person`` clicks through Django's client; ``work`` is what Celery's tick does, until a condition
holds. Time is real: the fake's tasks and stacks take theirs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.test import Client

from rollouts import building, clock, provision, reconcile
from rollouts.models import Build, Mesh, Rollout, Service, Stack

STACKS = ("infra", "mesh", "app")
WITHIN_S = 30.0


def work() -> None:
    """One tick of a worker: everything is due, as if its time had come."""
    now = clock.moment().now
    Service.objects.update(wake_at=now)
    Stack.objects.filter(wake_at__isnull=False).update(wake_at=now)
    Build.objects.filter(wake_at__isnull=False).update(wake_at=now)
    reconcile.tick_due(clock.moment())
    provision.tick_due(clock.moment())
    building.tick_due(clock.moment())


def until(holds: Callable[[], object], what: str, within_s: float = WITHIN_S) -> None:
    """Let the worker work until the condition holds."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            told = [f"{s.name} {s.phase}: {s.reason}" for s in Stack.objects.all()]
            told += [f"{s.slug}: {s.waiting} {s.trouble}" for s in Service.objects.all()]
            told += [f"{r}: {r.phase} {r.reason}" for r in Rollout.objects.all()]
            raise AssertionError(f"not within {within_s:g} s: {what}\n" + "\n".join(told))
        work()
        time.sleep(0.02)


class Person:
    """Signed in, looking at one mesh."""

    def __init__(self, client: Client, mesh: Mesh) -> None:
        self.client, self.mesh = client, mesh

    # Stacks

    def stack(self, name: str) -> Stack:
        return Stack.objects.get(mesh=self.mesh, name=name)

    def propose(self, name: str) -> Stack:
        self._post(f"/infrastructure/{self.mesh.slug}/{name}/propose/")
        until(lambda: self.stack(name).phase in ("proposed", "failed", "ready"), f"{name} proposed")
        return self.stack(name)

    def create(self, name: str) -> Stack:
        """Preview, look, apply, and wait for it."""
        proposed = self.propose(name)
        assert proposed.phase == "proposed", proposed.reason
        page = self.client.get(proposed.get_absolute_url()).content.decode()
        assert "month" in page, "the page says what it will cost"
        change_set = proposed.proposal["change_set"]
        self._post(f"/infrastructure/{self.mesh.slug}/{name}/apply/", change_set=change_set)
        until(lambda: self.stack(name).phase in ("ready", "failed"), f"{name} is made")
        made = self.stack(name)
        assert made.phase == "ready", made.reason
        return made

    def destroy(self, name: str) -> None:
        self._post(f"/infrastructure/{self.mesh.slug}/{name}/delete/", typed_name=name)
        until(lambda: self.stack(name).phase in ("absent", "failed"), f"{name} is gone")
        assert self.stack(name).phase == "absent", self.stack(name).reason

    # Versions

    @property
    def service(self) -> Service:
        return Service.objects.select_related("mesh", "stable").get(mesh=self.mesh)

    def add_version(self, tag: str) -> None:
        """An image that is in the repository, by its tag."""
        page = self._post(f"/services/{self.service.slug}/builds/add/", kind="existing",
                          image=tag, label=tag)  # fmt: skip
        build = Build.objects.get(pk=int(page["Location"].strip("/").split("/")[-1]))
        until(lambda: Build.objects.get(pk=build.pk).phase in Build.FINISHED, f"{tag} is found")
        build.refresh_from_db()
        assert build.phase == "succeeded", build.reason

    def deploy(self, label: str, steps: str) -> Rollout:
        version = self.service.versions.get(label=label)
        assert "@sha256:" in version.image
        page = self._post(f"/services/{self.service.slug}/deploy/", version=str(version.number),
                          strategy="custom", steps=steps)  # fmt: skip
        return Rollout.objects.get(pk=int(page["Location"].strip("/").split("/")[-1]))

    def roll_back(self, rollout: Rollout) -> None:
        self._post(f"/rollouts/{rollout.pk}/rollback/", reason="the test says so")

    def until_rollout(self, rollout: Rollout, phase: str) -> Rollout:
        def there() -> bool:
            rollout.refresh_from_db()
            return rollout.phase == phase or not rollout.is_live

        until(there, f"the rollout is {phase}")
        assert rollout.phase == phase, f"{rollout.phase}: {rollout.reason}"
        return rollout

    def until_share(self, label: str, weight: int) -> None:
        """Until the newest weights give the version this share and are confirmed."""

        def there() -> bool:
            service = self.service
            route = service.routes.first()
            version = service.versions.get(label=label)
            confirmed = route is not None and route.confirmed_at is not None
            return confirmed and service.weight_of(version.pk) == weight

        until(there, f"{label} has {weight} %")

    def until_gone(self, label: str) -> None:
        """Until no task of the version is left."""
        version = self.service.versions.get(label=label)
        until(lambda: not version.tasks.exists(), f"no task of {label} is left")

    def _post(self, path: str, **fields: Any) -> Any:
        page = self.client.post(path, fields)
        assert page.status_code == 302, (
            f"{path}: {page.status_code} {page.content.decode()[-2500:]}"
        )
        return page
