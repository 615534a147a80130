"""Requests: by the second, and a bounded tail of single ones."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from rollouts.models.service import Service, Version


class TrafficBucketQuerySet(models.QuerySet["TrafficBucket"]):
    def between(self, first: int, last: int) -> TrafficBucketQuerySet:
        """Buckets of the seconds ``first`` to ``last``, both included (Unix time)."""
        return self.filter(second__gte=first, second__lte=last)


class TrafficBucket(models.Model):
    """One second of one version, from the sampler or from the data plane.

    ``version`` is None for requests whose answer named no version. ``latency`` is a
    ``domain.traffic.Histogram`` as JSON, milliseconds.
    """

    SAMPLER, ENVOY = "sampler", "envoy"
    service = models.ForeignKey(Service, models.CASCADE, related_name="buckets")
    version = models.ForeignKey(
        Version, models.CASCADE, null=True, blank=True, related_name="buckets"
    )
    source = models.CharField(max_length=8)
    second = models.BigIntegerField()
    requests = models.PositiveIntegerField(default=0)
    errors = models.PositiveIntegerField(default=0)
    latency = models.JSONField(default=dict)

    objects = TrafficBucketQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["service", "source", "second", "version"],
                condition=Q(version__isnull=False),
                name="one_bucket_per_second",
            ),
            models.UniqueConstraint(
                fields=["service", "source", "second"],
                condition=Q(version=None),
                name="one_bucket_per_second_without_version",
            ),
        ]
        indexes = [models.Index(fields=["second"])]

    def __str__(self) -> str:
        return f"{self.service_id} {self.second}"


class Sample(models.Model):
    """One request of the sampler; a bounded tail is kept."""

    service = models.ForeignKey(Service, models.CASCADE, related_name="samples")
    version = models.ForeignKey(
        Version, models.CASCADE, null=True, blank=True, related_name="samples"
    )
    at = models.DateTimeField(db_index=True)
    ok = models.BooleanField()
    status = models.CharField(max_length=40)  # "200", "503", "time-out", "refused" …
    latency_ms = models.FloatField()  # from the *intended* start
    message = models.CharField(max_length=300)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["service", "-id"])]

    def __str__(self) -> str:
        return f"{self.status} {self.message}"
