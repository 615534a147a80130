"""The nouns. Rows' rules live on their QuerySets; every column has one writer.

Columns marked *wish* are written by ``actions`` only, those marked *machine* by ``reconcile`` only.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models, transaction
from django.db.models import F, Q
from django.urls import reverse

from rollouts.domain.plan import DEFAULT_PRESET, Plan, to_json
from rollouts.domain.state import FINISHED, Phase, Stage
from rollouts.errors import InvalidInput

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


class StackQuerySet(models.QuerySet["Stack"]):
    def due(self, now: datetime) -> StackQuerySet:
        return self.filter(wake_at__lte=now).filter(Q(lease_until=None) | Q(lease_until__lte=now))

    def claim(self, pk: int, now: datetime, until: datetime) -> bool:
        """Take the lease on one stack; False when another worker has it."""
        return bool(self.due(now).filter(pk=pk).update(lease_until=until))


class Stack(models.Model):
    """Provisioned infrastructure of a mesh. ``wanted`` is the wish, ``phase`` the fact."""

    PRESENT, ABSENT = "present", "absent"
    PHASES = [
        ("absent", "Not there"),
        ("creating", "Creating"),
        ("ready", "Ready"),
        ("deleting", "Deleting"),
        ("failed", "Failed"),
    ]
    mesh = models.ForeignKey(Mesh, models.CASCADE, related_name="stacks")
    name = models.CharField(max_length=60)
    kind = models.CharField(max_length=20, default="local")
    wanted = models.CharField(max_length=10, default=ABSENT)  # wish
    requested_at = models.DateTimeField(null=True, blank=True)  # wish
    attempt = models.PositiveIntegerField(default=0)  # wish: grows with each request
    phase = models.CharField(max_length=10, choices=PHASES, default="absent")  # machine
    step = models.CharField(max_length=40, blank=True)  # machine: where the provisioner is
    done = models.PositiveSmallIntegerField(default=0)  # machine: resources done …
    total = models.PositiveSmallIntegerField(default=0)  # … of how many
    reason = models.TextField(blank=True)  # machine: why it failed
    outputs = models.JSONField(default=dict, blank=True)  # machine
    ready_at = models.DateTimeField(null=True, blank=True)  # machine
    wake_at = models.DateTimeField(null=True, blank=True, db_index=True)
    lease_until = models.DateTimeField(null=True, blank=True)

    objects = StackQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["mesh", "name"], name="one_stack_per_name")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("stack", args=[self.name])


class StackEvent(models.Model):
    """One line of a stack's live log, append-only."""

    stack = models.ForeignKey(Stack, models.CASCADE, related_name="events")
    at = models.DateTimeField()
    resource = models.CharField(max_length=80)
    kind = models.CharField(max_length=60)
    status = models.CharField(max_length=40)
    reason = models.TextField(blank=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.resource} {self.status}"


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
            Route.objects.create(
                service=service,
                generation=service.generation + 1,
                weights={},
                at=now,
                reason="The mesh is destroyed.",
            )
            self.filter(pk=pk).update(weights={}, generation=F("generation") + 1)
        self.filter(pk=pk).update(stable=None, alarm="", waiting="")
        service.versions.update(count=0, keep=0, retire_left=None, drain_left=None)
        self.wake(pk, now)


class Service(models.Model):
    """What callers name: its stable version, and the weights that should be in force."""

    mesh = models.ForeignKey(Mesh, models.PROTECT, related_name="services")
    slug = models.CharField(max_length=40, unique=True, validators=[SLUG])
    name = models.CharField(max_length=253, unique=True, validators=[HOST])
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
    waiting = models.CharField(
        max_length=400, blank=True
    )  # what the last tick is waiting for, a sentence
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
            models.UniqueConstraint(
                fields=["mesh", "public_prefix"],
                condition=~Q(public_prefix=""),
                name="one_service_per_prefix",
            )
        ]
        permissions = [("operate_service", "Can deploy, pause, promote")]

    def __str__(self) -> str:
        return self.slug

    def get_absolute_url(self) -> str:
        return reverse("service", args=[self.slug])

    def live_rollout(self) -> Rollout | None:
        return self.rollouts.live().select_related("to_version", "from_version").first()

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


class Heartbeat(models.Model):
    """When a part of meshui was last seen alive. Each part writes its own row."""

    name = models.CharField(max_length=40, primary_key=True)  # worker, beat, sampler, controlplane
    at = models.DateTimeField()
    detail = models.JSONField(default=dict, blank=True)

    def __str__(self) -> str:
        return self.name


def json_weights(weights: dict[int, int]) -> dict[str, Any]:
    """Weights as the JSON columns hold them: keys are version ids as text."""
    return {str(pk): weight for pk, weight in sorted(weights.items())}
