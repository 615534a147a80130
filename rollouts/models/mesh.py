"""Meshes and their stacks."""

from __future__ import annotations

from datetime import datetime

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.urls import reverse

SLUG = RegexValidator(
    r"\A[a-z][a-z0-9-]{0,38}[a-z0-9]\Z", "Use 2 to 40 of a–z, 0–9 and -, first a letter."
)
HOST = RegexValidator(
    r"\A[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9])?\Z", "Use a host name, as in echo_server.echo.local."
)
LABEL = RegexValidator(
    r"\A[A-Za-z0-9][A-Za-z0-9._+-]{0,62}\Z",
    "Use 1 to 63 of A–Z, 0–9, . _ + -, as in 1.0 or v2-rc1.",
)
PREFIX = RegexValidator(
    r"\A/([A-Za-z0-9._~-]+/)*\Z", "Use a path that starts and ends with /, as in /shop/."
)


class Mesh(models.Model):
    """One place where services run: a platform, a router, a public endpoint."""

    slug = models.CharField(max_length=40, unique=True, validators=[SLUG])
    name = models.CharField(max_length=80)
    platform = models.CharField(max_length=20, default="local")
    router = models.CharField(max_length=20, default="envoy")
    settings = models.JSONField(default=dict, blank=True)
    public_url = models.CharField(max_length=200, blank=True)  # machine: the stack's output
    production = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "meshes"
        permissions = [("provision_mesh", "Can create and destroy stacks")]

    def __str__(self) -> str:
        return self.name

    def outputs(self) -> dict[str, str]:
        """What its stacks say of what they made, by name; a later stack's word counts."""
        found: dict[str, str] = {}
        for of_stack in self.stacks.order_by("pk").values_list("outputs", flat=True):
            found |= {name: str(value) for name, value in of_stack.items()}
        return found


class StackQuerySet(models.QuerySet["Stack"]):
    def due(self, now: datetime) -> StackQuerySet:
        return self.filter(wake_at__lte=now).filter(Q(lease_until=None) | Q(lease_until__lte=now))

    def claim(self, pk: int, now: datetime, until: datetime) -> bool:
        """Take the lease on one stack; False when another worker has it."""
        return bool(self.due(now).filter(pk=pk).update(lease_until=until))


class Stack(models.Model):
    """Provisioned infrastructure of a mesh. ``wanted`` is the wish, ``phase`` the fact."""

    PRESENT, ABSENT, PROPOSAL = "present", "absent", "proposal"
    PHASES = [
        ("absent", "Not there"),
        ("proposing", "Working out changes"),
        ("proposed", "Awaiting confirmation"),
        ("creating", "Creating"),
        ("updating", "Updating"),
        ("ready", "Ready"),
        ("deleting", "Deleting"),
        ("failed", "Failed"),
    ]
    WORKING = ("proposing", "creating", "updating", "deleting")
    mesh = models.ForeignKey(Mesh, models.CASCADE, related_name="stacks")
    name = models.CharField(max_length=60)
    kind = models.CharField(max_length=20, default="local")
    wanted = models.CharField(max_length=10, default=ABSENT)  # wish
    requested_at = models.DateTimeField(null=True, blank=True)  # wish
    attempt = models.PositiveIntegerField(default=0)  # wish: grows with each request
    asked = models.JSONField(default=dict, blank=True)  # wish: which change set, what to retain …
    drift_requested_at = models.DateTimeField(null=True, blank=True)  # wish
    phase = models.CharField(max_length=10, choices=PHASES, default="absent")  # machine
    step = models.CharField(max_length=80, blank=True)  # machine: where the provisioner is
    operation = models.JSONField(default=dict, blank=True)  # machine: its tokens and cursors
    proposal = models.JSONField(default=dict, blank=True)  # machine: what a request would change
    drift = models.JSONField(default=dict, blank=True)  # machine: what differs from the template
    drift_at = models.DateTimeField(null=True, blank=True)  # machine
    done = models.PositiveSmallIntegerField(default=0)  # machine: resources done …
    total = models.PositiveSmallIntegerField(default=0)  # … of how many
    reason = models.TextField(blank=True)  # machine: why it failed
    outputs = models.JSONField(default=dict, blank=True)  # machine
    ready_at = models.DateTimeField(null=True, blank=True)  # machine
    ticks = models.PositiveBigIntegerField(default=0)  # guards every store of it
    wake_at = models.DateTimeField(null=True, blank=True, db_index=True)
    lease_until = models.DateTimeField(null=True, blank=True)

    objects = StackQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["mesh", "name"], name="one_stack_per_name")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("stack", args=[self.mesh.slug, self.name])

    @property
    def drift_asked(self) -> bool:
        """Does somebody wait to hear what differs from the template?"""
        wish, answered = self.drift_requested_at, self.drift_at
        return wish is not None and (answered is None or answered < wish)


class StackEvent(models.Model):
    """One line of a stack's live log, append-only."""

    stack = models.ForeignKey(Stack, models.CASCADE, related_name="events")
    at = models.DateTimeField()
    resource = models.CharField(max_length=80)
    kind = models.CharField(max_length=60)
    status = models.CharField(max_length=40)
    reason = models.TextField(blank=True)
    uid = models.CharField(max_length=200, null=True, blank=True)  # the provisioner's own id

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["stack", "uid"], name="one_row_per_event")]

    def __str__(self) -> str:
        return f"{self.resource} {self.status}"
