"""Services and their versions: what should run, and who should get the requests."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import F, Q
from django.urls import reverse

from rollouts.domain.plan import DEFAULT_PRESET
from rollouts.errors import InvalidInput
from rollouts.models.mesh import HOST, LABEL, PREFIX, SLUG, Mesh

if TYPE_CHECKING:
    from rollouts.models.rollout import Rollout


class ServiceQuerySet(models.QuerySet["Service"]):
    def due(self, now: datetime) -> ServiceQuerySet:
        """Services that want a tick and that nobody is ticking."""
        return self.filter(wake_at__lte=now).filter(Q(lease_until=None) | Q(lease_until__lte=now))

    def claim(self, pk: int, now: datetime, until: datetime) -> bool:
        """Take the lease on one service; False when another worker has it."""
        return bool(self.due(now).filter(pk=pk).update(lease_until=until))

    def wake(self, pk: int, now: datetime) -> None:
        """Ask for a tick now, and make the store of every tick already under way fail."""
        self.filter(pk=pk).update(wake_at=now, ticks=F("ticks") + 1)

    @transaction.atomic
    def put_to_rest(self, pk: int, now: datetime) -> None:
        """Want nothing of a service any more, as its mesh is destroyed: no version, no tasks.

        Its rows stay; a first deploy brings it back. Does nothing twice.
        """
        service = self.get(pk=pk)
        if service.weights:
            service.routes.create(
                generation=service.generation + 1,
                weights={},
                at=now,
                reason="The mesh is destroyed.",
            )
            service.events.create(
                at=now,
                mesh_id=service.mesh_id,
                verb="rest",
                text="No version is wanted any more: the mesh is destroyed.",
                before=service.weights,
                after={},
                generation=service.generation + 1,
            )
            self.filter(pk=pk).update(weights={}, generation=F("generation") + 1)
        self.filter(pk=pk).update(stable=None, alarm="", waiting="")
        service.versions.update(count=0, keep=0, retire_left=None, drain_left=None)
        self.wake(pk, now)


class Service(models.Model):
    """What callers name: its stable version, and the weights that should be in force."""

    mesh = models.ForeignKey(Mesh, models.PROTECT, related_name="services")
    slug = models.CharField(max_length=40, unique=True, validators=[SLUG])
    name = models.CharField(max_length=253, validators=[HOST])  # unique in its mesh
    protocol = models.CharField(
        max_length=4, choices=[("grpc", "gRPC"), ("http", "HTTP")], default="grpc"
    )
    public_prefix = models.CharField(
        max_length=100,
        blank=True,
        validators=[PREFIX],
        help_text="Path on the public endpoint that goes here; empty: only other services call it.",
    )
    tasks = models.PositiveSmallIntegerField(
        default=2, validators=[MinValueValidator(1), MaxValueValidator(20)]
    )
    health_kind = models.CharField(
        max_length=4,
        default="grpc",
        choices=[
            ("grpc", "gRPC health"),
            ("http", "HTTP GET"),
            ("tcp", "TCP connect"),
            ("none", "none"),
        ],
    )
    health_path = models.CharField(max_length=200, default="/ping", blank=True)
    timeout_s = models.FloatField(
        default=5.0, validators=[MinValueValidator(0.1), MaxValueValidator(300)]
    )
    idempotent = models.BooleanField(
        default=True,
        help_text="Calls may be repeated: retries then also cover resets and time-outs.",
    )
    # sampler
    sample_path = models.CharField(
        max_length=300, blank=True, help_text="Asked of the public endpoint."
    )
    sample_rate = models.FloatField(
        default=10.0, validators=[MinValueValidator(0), MaxValueValidator(200)]
    )
    sample_pattern = models.CharField(max_length=200, default=r"Version ([^)\s]+)\)", blank=True)
    # how rollouts go
    default_plan = models.CharField(max_length=400, default=DEFAULT_PRESET)
    start_deadline_s = models.PositiveIntegerField(default=600)
    scale_down_delay_s = models.PositiveIntegerField(default=600)
    abort_delay_s = models.PositiveIntegerField(default=30)
    drain_s = models.PositiveIntegerField(default=2)
    keep_warm = models.PositiveSmallIntegerField(default=1)
    automatic_deploys = models.BooleanField(default=True)
    automatic_why = models.CharField(max_length=300, blank=True)
    # machine: the aggregate's state; ``ticks`` guards every store of it
    stable = models.ForeignKey("Version", models.PROTECT, null=True, blank=True, related_name="+")
    weights = models.JSONField(default=dict, blank=True)  # {version pk as text: percent}
    generation = models.PositiveIntegerField(default=0)
    alarm = models.CharField(max_length=400, blank=True)
    waiting = models.CharField(max_length=400, blank=True)  # what the last tick waits for
    trouble = models.CharField(max_length=800, blank=True)  # why the last apply failed
    trouble_lasts = models.BooleanField(default=False)  # trying again cannot help
    ticks = models.PositiveBigIntegerField(default=0)
    clock_wall = models.FloatField(default=0.0)
    clock_mono = models.FloatField(default=0.0)
    clock_boot = models.CharField(max_length=40, blank=True)
    wake_at = models.DateTimeField(null=True, blank=True, db_index=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ServiceQuerySet.as_manager()

    class Meta:
        ordering = ["slug"]
        constraints = [
            models.UniqueConstraint(fields=["mesh", "name"], name="one_service_per_name"),
            models.UniqueConstraint(
                fields=["mesh", "public_prefix"],
                condition=~Q(public_prefix=""),
                name="one_service_per_prefix",
            ),
        ]
        permissions = [("operate_service", "Can deploy, pause, promote")]

    def __str__(self) -> str:
        return self.slug

    def get_absolute_url(self) -> str:
        return reverse("service", args=[self.slug])

    def live_rollout(self) -> Rollout | None:
        live: models.QuerySet[Rollout] = self.rollouts.live()
        return live.select_related("to_version", "from_version").first()

    @property
    def output_prefix(self) -> str:
        """How outputs of stacks about it begin: EchoServer for echo_server.echo.local."""
        words = self.name.partition(".")[0].replace("-", "_").split("_")
        return "".join(word.capitalize() for word in words)

    def weight_of(self, version_pk: int) -> int:
        return int(self.weights.get(str(version_pk), 0))


class VersionQuerySet(models.QuerySet["Version"]):
    def add(self, service: Service, **columns: Any) -> Version:
        """Save a version with the next number. Raises InvalidInput, IntegrityError."""
        last = self.filter(service=service).aggregate(last=models.Max("number"))["last"] or 0
        version = Version(service=service, number=last + 1, **columns)
        try:
            version.full_clean(validate_unique=False, validate_constraints=False)
        except ValidationError as error:
            field, messages = next(iter(error.message_dict.items()))
            raise InvalidInput(field, " ".join(messages)) from error
        version.save()
        return version


class Version(models.Model):
    """An immutable build. Its tasks are a task set, its route target a virtual node."""

    service = models.ForeignKey(Service, models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    label = models.CharField(max_length=63, validators=[LABEL])
    digest = models.CharField(max_length=80)
    image = models.CharField(max_length=300, blank=True)
    command = models.JSONField(default=list, blank=True)  # argv; {port} and {python} are filled in
    environment = models.JSONField(default=dict, blank=True)
    note = models.CharField(max_length=300, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    destroy_requested_at = models.DateTimeField(null=True, blank=True)  # wish
    # machine
    count = models.PositiveSmallIntegerField(default=0)
    keep = models.PositiveSmallIntegerField(default=0)
    retire_left = models.FloatField(null=True, blank=True)
    drain_left = models.FloatField(null=True, blank=True)

    objects = VersionQuerySet.as_manager()

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["service", "label"], name="one_version_per_label"),
            models.UniqueConstraint(fields=["service", "number"], name="one_version_per_number"),
        ]

    def __str__(self) -> str:
        return self.label

    @property
    def slot(self) -> int:
        """Colour of the version on every page, 1–5, for ever."""
        return (self.number - 1) % 5 + 1

    @property
    def target(self) -> str:
        """Name of the virtual node (Envoy: the cluster)."""
        return f"{self.service.slug}--{self.pk}"


def json_weights(weights: dict[int, int]) -> dict[str, Any]:
    """Weights as the JSON columns hold them: keys are version ids as text."""
    return {str(pk): weight for pk, weight in sorted(weights.items())}
