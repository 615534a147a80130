"""Rollouts, their steps, and every route that was ever in force."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse

from rollouts.domain.plan import Plan, to_json
from rollouts.domain.state import FINISHED, Phase, Stage
from rollouts.models.service import Service, Version


class RolloutQuerySet(models.QuerySet["Rollout"]):
    def live(self) -> RolloutQuerySet:
        return self.exclude(phase__in=FINISHED)

    def finished(self) -> RolloutQuerySet:
        return self.filter(phase__in=FINISHED)

    def begin(
        self, service: Service, version: Version, *, plan: Plan, now: datetime, **columns: Any
    ) -> Rollout:
        """Create a live rollout from stable and wake its service; call in a transaction.

        Raises IntegrityError when another one is live.
        """
        rollout = self.create(
            service=service,
            from_version=service.stable,
            to_version=version,
            plan=to_json(plan),
            deadline_left=service.start_deadline_s,
            created_at=now,
            **columns,
        )
        StepRecord.objects.create(rollout=rollout, key="provision", started_at=now)
        Version.objects.filter(pk=version.pk).update(destroy_requested_at=None)
        Service.objects.wake(service.pk, now)
        return rollout


class Rollout(models.Model):
    """The deployment record. At most one is live per service (a database constraint)."""

    service = models.ForeignKey(Service, models.CASCADE, related_name="rollouts")
    from_version = models.ForeignKey(
        Version, models.PROTECT, null=True, blank=True, related_name="+"
    )
    to_version = models.ForeignKey(Version, models.PROTECT, related_name="rollouts")
    plan = models.JSONField()  # as it was when the rollout started
    plan_name = models.CharField(max_length=60, blank=True)
    kind = models.CharField(
        max_length=10, default="deploy", choices=[("deploy", "Deploy"), ("rollback", "Roll back")]
    )
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    note = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField()
    # wish
    paused = models.BooleanField(default=False)
    promote_step = models.PositiveSmallIntegerField(null=True, blank=True)
    promote_full = models.BooleanField(default=False)
    rollback_requested_at = models.DateTimeField(null=True, blank=True)
    keep_tasks = models.BooleanField(default=False)
    wish_by = models.CharField(max_length=150, blank=True)
    wish_reason = models.CharField(max_length=300, blank=True)
    revision = models.PositiveIntegerField(
        default=1
    )  # grows with every wish and every visible change
    # machine
    phase = models.CharField(
        max_length=12, default=Phase.PENDING, choices=[(p.value, p.value) for p in Phase]
    )
    step = models.PositiveSmallIntegerField(default=0)
    stage = models.CharField(
        max_length=8, default=Stage.SHIFT, choices=[(s.value, s.value) for s in Stage]
    )
    left = models.FloatField(null=True, blank=True)
    deadline_left = models.FloatField(default=600.0)
    exits_base = models.PositiveIntegerField(null=True, blank=True)
    reason = models.TextField(blank=True)  # why it was rolled back or failed
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = RolloutQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["service"],
                condition=~Q(phase__in=sorted(FINISHED)),
                name="one_live_rollout_per_service",
            )
        ]
        permissions = [("rollback_rollout", "Can roll back and abort rollouts")]

    def __str__(self) -> str:
        return f"#{self.pk} {self.to_version.label}"

    def get_absolute_url(self) -> str:
        return reverse("rollout", args=[self.pk])

    @property
    def is_live(self) -> bool:
        return Phase(self.phase) not in FINISHED


class StepRecord(models.Model):
    """When a rollout entered and left one row of its timeline (``key``: start, step-0 …)."""

    rollout = models.ForeignKey(Rollout, models.CASCADE, related_name="records")
    key = models.CharField(max_length=20)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=10, blank=True)  # done, failed, stopped

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["rollout", "key"], name="one_record_per_step")
        ]

    def __str__(self) -> str:
        return self.key


class Route(models.Model):
    """The weights of a service at one generation. The newest is the one that should be in force."""

    service = models.ForeignKey(Service, models.CASCADE, related_name="routes")
    generation = models.PositiveIntegerField()
    weights = models.JSONField()
    at = models.DateTimeField()
    # Read back from a router that cannot prove more; it counts as in force ``settle_s`` later.
    read_back_at = models.DateTimeField(null=True, blank=True)
    read_back_mono = models.FloatField(default=0.0)
    read_back_boot = models.CharField(max_length=40, blank=True)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    rollout = models.ForeignKey(
        Rollout, models.SET_NULL, null=True, blank=True, related_name="routes"
    )
    actor = models.CharField(max_length=150, blank=True)
    reason = models.TextField(blank=True)

    class Meta:
        ordering = ["-generation"]
        constraints = [
            models.UniqueConstraint(fields=["service", "generation"], name="generations_only_grow")
        ]

    def __str__(self) -> str:
        return f"{self.service_id} generation {self.generation}"
