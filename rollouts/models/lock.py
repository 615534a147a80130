"""Who writes a thing that has no compare-and-set of its own, such as weights on AWS."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import Q


class LockQuerySet(models.QuerySet["Lock"]):
    def take(self, name: str, owner: str, now: datetime, until: datetime) -> bool:
        """Take the lock, or make it last longer for who has it; False when another has it."""
        free = self.filter(Q(owner="") | Q(owner=owner) | Q(until__lte=now), name=name)
        if free.update(owner=owner, until=until):
            return True
        # Only now: a person may wait for this, and but for the first time the row is there.
        self.bulk_create([Lock(name=name, owner="", until=now)], ignore_conflicts=True)
        return bool(free.update(owner=owner, until=until))

    def give_back(self, name: str, owner: str) -> None:
        self.filter(name=name, owner=owner).update(owner="")

    def held(self, name: str, owner: str, now: datetime) -> bool:
        return self.filter(name=name, owner=owner, until__gt=now).exists()


class Lock(models.Model):
    """A lease on a name: a killed owner never gives it back, so it ends by itself.

    ``owner`` names machine and process, so that others there see when it is dead.
    """

    name = models.CharField(max_length=80, primary_key=True)
    owner = models.CharField(max_length=60, blank=True)
    until = models.DateTimeField()

    objects = LockQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name
