"""What was seen and what was said: tasks, proxies, events, signs of life."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from rollouts.models.mesh import Mesh
from rollouts.models.rollout import Rollout
from rollouts.models.service import Service, Version


class Task(models.Model):
    """A task as last observed. Written by ticks; read by the control plane and by pages."""

    service = models.ForeignKey(Service, models.CASCADE, related_name="running")
    version = models.ForeignKey(Version, models.CASCADE, related_name="tasks")
    name = models.CharField(max_length=120, unique=True)
    index = models.PositiveSmallIntegerField()
    host = models.CharField(max_length=253)
    port = models.PositiveIntegerField(null=True, blank=True)
    pid = models.PositiveIntegerField(null=True, blank=True)
    state = models.CharField(max_length=12)
    healthy = models.BooleanField(default=False)
    exits = models.PositiveIntegerField(default=0)
    reason = models.TextField(blank=True)
    log = models.TextField(blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    seen_at = models.DateTimeField()

    class Meta:
        ordering = ["version_id", "index"]

    def __str__(self) -> str:
        return self.name

    @property
    def draining(self) -> bool:
        """Finishes what it has, gets no new requests. Reads ``version``: select it along."""
        return self.index >= self.version.keep


class Proxy(models.Model):
    """An Envoy that asked the control plane for configuration. Written by the control plane."""

    mesh = models.ForeignKey(Mesh, models.CASCADE, related_name="proxies")
    node = models.CharField(max_length=120)
    connected = models.BooleanField(default=False)
    connected_at = models.DateTimeField(null=True, blank=True)
    disconnected_at = models.DateTimeField(null=True, blank=True)
    seen_at = models.DateTimeField(null=True, blank=True)
    nack = models.TextField(blank=True)

    class Meta:
        verbose_name_plural = "proxies"
        constraints = [models.UniqueConstraint(fields=["mesh", "node"], name="one_proxy_per_node")]

    def __str__(self) -> str:
        return self.node


class Acknowledgement(models.Model):
    """Which proxy confirmed which generation, and when. Written by the control plane."""

    proxy = models.ForeignKey(Proxy, models.CASCADE, related_name="acknowledgements")
    service = models.ForeignKey(Service, models.CASCADE, related_name="acknowledgements")
    generation = models.PositiveIntegerField()
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["proxy", "service"], name="one_acknowledgement_per_service"
            )
        ]

    def __str__(self) -> str:
        return f"{self.proxy} {self.generation}"


class Event(models.Model):
    """One sentence of the timeline, append-only: who, when, why. Also the audit log."""

    at = models.DateTimeField(db_index=True)
    mesh = models.ForeignKey(Mesh, models.SET_NULL, null=True, blank=True, related_name="events")
    service = models.ForeignKey(
        Service, models.SET_NULL, null=True, blank=True, related_name="events"
    )
    rollout = models.ForeignKey(
        Rollout, models.SET_NULL, null=True, blank=True, related_name="events"
    )
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    actor = models.CharField(max_length=150, default="meshui")
    source = models.CharField(max_length=10, default="meshui")  # web, admin, cli, api, meshui
    verb = models.CharField(max_length=30)
    severity = models.CharField(max_length=5, default="info")
    text = models.TextField()
    reason = models.TextField(blank=True)
    before = models.JSONField(null=True, blank=True)
    after = models.JSONField(null=True, blank=True)
    generation = models.PositiveIntegerField(null=True, blank=True)
    request_id = models.CharField(max_length=64, null=True, blank=True, unique=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["service", "-id"]), models.Index(fields=["rollout", "-id"])]

    def __str__(self) -> str:
        return f"{self.actor} {self.text}"


class Heartbeat(models.Model):
    """When a part of meshui was last seen alive. Each part writes its own row."""

    name = models.CharField(max_length=40, primary_key=True)  # worker, beat, sampler, controlplane
    at = models.DateTimeField()
    detail = models.JSONField(default=dict, blank=True)

    def __str__(self) -> str:
        return self.name
