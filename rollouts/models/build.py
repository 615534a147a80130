"""Images: where they come from, and the log of how they were made."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse

from rollouts.models.mesh import LABEL
from rollouts.models.service import Service, Version


class BuildQuerySet(models.QuerySet["Build"]):
    def live(self) -> BuildQuerySet:
        return self.exclude(phase__in=Build.FINISHED)

    def due(self, now: datetime) -> BuildQuerySet:
        """Builds that want a tick and that nobody is ticking."""
        return self.filter(wake_at__lte=now).filter(Q(lease_until=None) | Q(lease_until__lte=now))

    def claim(self, pk: int, now: datetime, until: datetime) -> bool:
        return bool(self.due(now).filter(pk=pk).update(lease_until=until))


class Build(models.Model):
    """One image on its way to a version of a service. ``cancelled`` is a wish, ``phase`` a fact."""

    FINISHED = ("succeeded", "failed", "cancelled")
    PHASES = [
        ("queued", "Queued"),
        ("building", "Building"),
        ("pushing", "Pushing"),
        ("succeeded", "Succeeded"),
        ("failed", "Failed"),
        ("cancelled", "Cancelled"),
    ]
    service = models.ForeignKey(Service, models.CASCADE, related_name="builds")
    kind = models.CharField(max_length=20)  # existing, codebuild, docker
    label = models.CharField(max_length=63, validators=[LABEL])
    source = models.JSONField(default=dict, blank=True)  # wish: tag, archive, Dockerfile …
    archive = models.BinaryField(null=True, blank=True)  # wish: the uploaded context, a tarball
    note = models.CharField(max_length=300, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField()
    cancelled = models.BooleanField(default=False)  # wish
    # machine
    phase = models.CharField(max_length=10, choices=PHASES, default="queued")
    operation = models.JSONField(default=dict, blank=True)  # the builder's tokens and cursors
    digest = models.CharField(max_length=80, blank=True)
    image = models.CharField(max_length=300, blank=True)  # repository@sha256:…
    reason = models.TextField(blank=True)  # why it failed
    version = models.ForeignKey(
        Version, models.SET_NULL, null=True, blank=True, related_name="builds"
    )
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    wake_at = models.DateTimeField(null=True, blank=True, db_index=True)
    lease_until = models.DateTimeField(null=True, blank=True)

    objects = BuildQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.service.slug} {self.label}"

    def get_absolute_url(self) -> str:
        return reverse("build", args=[self.pk])

    @property
    def is_live(self) -> bool:
        return self.phase not in self.FINISHED


class BuildLine(models.Model):
    """One line of a build's log, append-only."""

    build = models.ForeignKey(Build, models.CASCADE, related_name="lines")
    number = models.PositiveIntegerField()
    at = models.DateTimeField()
    text = models.TextField()

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["build", "number"], name="one_row_per_line")]

    def __str__(self) -> str:
        return self.text[:80]
