"""The form of a mesh on AWS: where it is made, what is open, what runs beside tasks.

Used by ``web.meshes``. A valid form has ``columns()``, the fields of ``actions.add_mesh``. The
templates of ``templates/cloudformation`` check again, but only on AWS and one value at a time.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence, Set
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.forms import BoundField

from rollouts.models import Mesh
from rollouts.web.fields import Line, NumberField

REGION = re.compile(r"[a-z]{2}(-[a-z]+){1,3}-[1-9][0-9]?", re.A)
ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,512}", re.A)
EXTERNAL_ID = re.compile(r"[A-Za-z0-9+=,.@:/_-]{2,1224}", re.A)
SLUG = re.compile(r"[a-z][a-z0-9-]{0,18}[a-z0-9]", re.A)
CIDR = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}", re.A)
KEY_PAIR = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,254}", re.A)
CERTIFICATE = re.compile(
    r"arn:aws[a-z-]*:acm:(?P<region>[a-z0-9-]+):[0-9]{12}:certificate/[0-9a-f-]{36}", re.A
)
IMAGE = re.compile(r"[a-z0-9][a-z0-9._:/-]{0,200}@sha256:[0-9a-f]{64}", re.A)
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.A)
ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9][A-Za-z0-9._-]{0,252}):(?P<port>[0-9]{1,5})", re.A)
HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.A)
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.A)
LOOPBACK = ("localhost", "127.", "0.0.0.0")  # noqa: S104
RETENTION = (1, 3, 5, 7, 14, 30, 60, 90, 180, 365, 731)  # as CloudWatch and the template allow
WIDEST = 8  # a prefix shorter than this is a good part of the internet
APPMESH_ENDED = "2026-09-30"
RESERVED = ("add", "local")

ROUTERS = [
    ("envoy", "Envoy, recommended: weights in force at once, and every proxy confirms them."),
    ("alb", "Load balancer: ALB weights. No sidecar; needs a certificate; in force after seconds."),
    ("appmesh", f"App Mesh: AWS ended it on {APPMESH_ENDED}; it cannot be created there any more."),
]
NATS = [
    ("one", "One, about $33 a month and $0.045 per GB"),
    ("none", "None: private endpoints instead, about $7 a month each and zone"),
    ("per-az", "One per zone, about $66 a month: a zone may fail"),
]
BASTIONS = [
    ("none", "None"),
    ("ssm", "Session Manager: opens no port, about $3 a month"),
    ("ssh", "SSH from one address range, about $3 a month"),
]
# Which settings are parameters of which stack: it follows them when it is updated.
PARAMETERS: Mapping[str, Sequence[str]] = {
    "infra": ("nat", "bastion", "bastion_cidr", "key_pair", "log_retention_days", "kept_images"),
    "mesh": ("control_plane", "certificate_arn"),
    "app": (
        *("certificate_arn", "ingress_cidr", "envoy_image", "echo_client_image"),
        *("echo_client_count", "public_host", "access_logs_bucket", "deletion_protection"),
    ),
}
GROUPS: Sequence[tuple[str, str, Sequence[str]]] = [
    ("What it is", "", ("name", "slug", "production", "router")),
    (
        "Account",
        "Without a role, meshui's own identity is used.",
        ("region", "role_arn", "external_id"),
    ),
    ("Network", "", ("nat", "ingress_cidr", "certificate_arn")),
    (
        "Images and sidecars",
        "infra makes a repository for each image. Empty means the newest one in it.",
        ("control_plane", "envoy_image", "echo_client_image"),
    ),
    ("Access for people", "ECS Exec works without any of these.", ("bastion", "bastion_cidr",
                                                                  "key_pair")),
]  # fmt: skip
LATER = (
    "log_retention_days", "echo_client_count", "kept_images", "public_host", "access_logs_bucket",
    "deletion_protection",
)  # fmt: skip


# A field, the stacks that must follow it, and when it is asked for (empty: always).
Entry = tuple[BoundField, list[str], str]
UNUSED = {"alb": ("control_plane", "envoy_image"), "appmesh": ("control_plane",)}
ASKED = {"control_plane": "with Envoy", "bastion_cidr": "with SSH", "key_pair": "with SSH"}


class MeshForm(forms.Form):
    """Every setting of a mesh of the platform ecs; defaults are what costs and opens little."""

    COLUMNS: ClassVar = ("slug", "name", "router", "production")

    name = Line(max_length=80, help_text="As people say it: Echo, production.")
    slug = Line(
        max_length=20,
        label="Short name",
        help_text="2 to 20 of a–z, 0–9 and -. Everything on AWS is named after it: echo-infra.",
    )
    production = forms.BooleanField(required=False, label="This is production: mark every page")
    router = forms.ChoiceField(choices=ROUTERS, widget=forms.RadioSelect, initial="envoy")
    region = Line(max_length=25, help_text="As in eu-central-1.")
    role_arn = Line(
        max_length=600,
        required=False,
        label="Role to assume",
        help_text="As in arn:aws:iam::123456789012:role/meshui.",
    )
    external_id = Line(
        max_length=1224, required=False, help_text="If the role's trust policy asks for one."
    )
    nat = forms.ChoiceField(
        choices=NATS, widget=forms.RadioSelect, initial="one", label="NAT gateways"
    )
    ingress_cidr = Line(
        max_length=18,
        initial="0.0.0.0/0",
        label="Who may call the public endpoint",
        help_text="An IPv4 range, as in 203.0.113.0/24. 0.0.0.0/0 is everybody.",
    )
    certificate_arn = Line(
        max_length=200,
        required=False,
        label="Certificate",
        help_text="ARN of an ACM certificate. The load balancer router needs one; others speak "
        "plain HTTP without it.",
    )
    control_plane = Line(
        max_length=260,
        required=False,
        label="Address of the control plane",
        help_text="host:port at which the sidecars on AWS reach meshui, as in "
        "meshui.example.com:18443.",
    )
    envoy_image = Line(
        max_length=300,
        required=False,
        label="Image of Envoy",
        help_text="A tag in its repository, or repository@sha256:…",
    )
    echo_client_image = Line(
        max_length=300,
        required=False,
        label="Image of echo_client",
        help_text="A tag in its repository, or repository@sha256:…",
    )
    bastion = forms.ChoiceField(choices=BASTIONS, widget=forms.RadioSelect, initial="none")
    bastion_cidr = Line(
        max_length=18,
        required=False,
        label="Who may connect to it",
        help_text="The addresses that may connect, as in 203.0.113.7/32.",
    )
    key_pair = Line(max_length=255, required=False, help_text="The name of an EC2 key pair.")
    log_retention_days = forms.TypedChoiceField(
        choices=[(days, f"{days} day{'s' if days > 1 else ''}") for days in RETENTION],
        coerce=int,
        initial=30,
        label="Logs are kept for",
    )
    echo_client_count = NumberField(
        min_value=1, max_value=20, initial=2, label="Tasks of echo_client"
    )
    kept_images = NumberField(
        min_value=10,
        max_value=1000,
        initial=200,
        label="Images kept per repository",
        help_text="A version whose image has expired cannot start again.",
    )
    public_host = Line(
        max_length=253,
        required=False,
        label="Public host name",
        help_text="Of the certificate, pointing at the load balancer. Empty: its own name.",
    )
    access_logs_bucket = Line(
        max_length=63, required=False, help_text="S3 bucket for access logs. Empty: none are kept."
    )
    deletion_protection = forms.BooleanField(
        required=False, label="AWS refuses to delete the load balancer"
    )

    def __init__(self, mesh: Mesh | None, *args: Any, **kwargs: Any) -> None:
        """``mesh``: the one that changes; None for a new one."""
        kwargs.setdefault("initial", _initial(mesh))
        super().__init__(*args, **kwargs)
        self.mesh = mesh
        self.there = [] if mesh is None else _there(mesh)
        if mesh is not None:
            del self.fields["slug"]
        if mesh is not None and self.there:
            for name in ("router", *UNUSED.get(mesh.router, ())):
                del self.fields[name]

    # --- for the template

    def groups(self) -> list[tuple[str, str, list[Entry]]]:
        """Legend, note and entries of each group."""
        return [(legend, note, self._entries(names)) for legend, note, names in GROUPS]

    def later(self) -> list[Entry]:
        return self._entries(LATER)

    def _entries(self, names: Sequence[str]) -> list[Entry]:
        shown = [name for name in names if name in self.fields]
        return [(self[name], self._follow({name}), ASKED.get(name, "")) for name in shown]

    def _follow(self, names: Set[str]) -> list[str]:
        """Stacks that are there and have one of these settings as a parameter."""
        return [stack for stack in self.there if names & set(PARAMETERS.get(stack, ()))]

    def later_is_wrong(self) -> bool:
        return any(name in self.errors for name in LATER)

    # --- what was sent, as columns of Mesh

    def columns(self) -> dict[str, Any]:
        """The fields of ``actions.add_mesh`` and ``change_mesh``; keeps settings unknown here."""
        sent = self.cleaned_data
        kept = dict(self.mesh.settings) if self.mesh else {"egress": "127.0.0.1:15001"}
        for name in self.fields.keys() - set(self.COLUMNS):
            kept.pop(name, None)
            if sent[name] not in ("", None, False):
                kept[name] = "true" if sent[name] is True else sent[name]
        made = {name: sent[name] for name in self.COLUMNS if name in self.fields}
        return made | {"settings": kept} | ({} if self.mesh else {"platform": "ecs"})

    def stacks_to_update(self) -> list[str]:
        """Names of stacks that are there and do not follow what changed by themselves."""
        before, after = dict(self.mesh.settings) if self.mesh else {}, self.columns()["settings"]
        changed = {name for name in self.fields if before.get(name, "") != after.get(name, "")}
        return self._follow(changed)

    # --- field by field

    def clean_slug(self) -> str:
        slug = str(self.cleaned_data["slug"])
        if not SLUG.fullmatch(slug) or "--" in slug:
            raise ValidationError("Use 2 to 20 of a–z, 0–9 and single -, first a letter.")
        if slug in RESERVED or slug.startswith("internal-"):
            raise ValidationError(f"{slug} has a meaning already. Choose another name.")
        if Mesh.objects.filter(slug=slug).exists():
            raise ValidationError(f"There is a mesh {slug} already.")
        return slug

    def clean_region(self) -> str:
        region = _shaped(self.cleaned_data["region"], REGION, "Use a region, as in eu-central-1.")
        if self.there and self.mesh and region != self.mesh.settings.get("region", region):
            raise ValidationError(
                f"The stacks are in {self.mesh.settings['region']}: destroy them first."
            )
        return region

    def clean_role_arn(self) -> str:
        sentence = "Use the ARN of a role, as in arn:aws:iam::123456789012:role/meshui."
        return _shaped(self.cleaned_data["role_arn"], ROLE, sentence)

    def clean_external_id(self) -> str:
        sentence = "Use 2 or more of A–Z, a–z, 0–9 and + = , . @ : / _ -."
        return _shaped(self.cleaned_data["external_id"], EXTERNAL_ID, sentence)

    def clean_ingress_cidr(self) -> str:
        return str(network(self.cleaned_data["ingress_cidr"]))

    def clean_certificate_arn(self) -> str:
        sentence = "Use the ARN of an ACM certificate: arn:aws:acm:region:account:certificate/…"
        return _shaped(self.cleaned_data["certificate_arn"], CERTIFICATE, sentence)

    def clean_control_plane(self) -> str:
        address = str(self.cleaned_data["control_plane"])
        found = ADDRESS.fullmatch(address)
        if address and (found is None or not 1 <= int(found["port"]) <= 65535):
            raise ValidationError("Use host:port, as in meshui.example.com:18443.")
        if address.startswith(LOOPBACK) and not settings.AWS_FAKE:
            raise ValidationError("Tasks on AWS cannot reach this machine by a loopback address.")
        return address

    def clean_envoy_image(self) -> str:
        return _image(self.cleaned_data["envoy_image"])

    def clean_echo_client_image(self) -> str:
        return _image(self.cleaned_data["echo_client_image"])

    def clean_key_pair(self) -> str:
        sentence = "Use the name of a key pair: letters, digits, spaces and . _ -."
        return _shaped(self.cleaned_data["key_pair"], KEY_PAIR, sentence)

    def clean_bastion_cidr(self) -> str:
        text = str(self.cleaned_data["bastion_cidr"])
        if not text:
            return text
        found = network(text)
        if found.prefixlen < WIDEST:
            raise ValidationError("This opens SSH to the internet. Name the addresses you use.")
        return str(found)

    def clean_public_host(self) -> str:
        sentence = "Use a host name, as in echo.example.com."
        return _shaped(self.cleaned_data["public_host"], HOST, sentence)

    def clean_access_logs_bucket(self) -> str:
        sentence = "Use the name of an S3 bucket: 3 to 63 of a–z, 0–9, . and -."
        return _shaped(self.cleaned_data["access_logs_bucket"], BUCKET, sentence)

    # --- what one field asks of another

    def clean(self) -> dict[str, Any]:
        sent = self.cleaned_data
        router = sent.get("router") or (self.mesh.router if self.mesh else "")
        self._needs("external_id", "role_arn", "An external id needs a role to assume.")
        if router == "alb":
            self._demand("certificate_arn", "The load balancer router needs a certificate.")
        if router == "envoy":
            self._demand("control_plane", "Envoy needs the address of the control plane.")
        if sent.get("bastion") == "ssh":
            self._demand("bastion_cidr", "Name the addresses that may connect by SSH.")
            self._demand("key_pair", "SSH needs the name of an EC2 key pair.")
        found = CERTIFICATE.fullmatch(sent.get("certificate_arn") or "")
        if found and sent.get("region") not in (None, found["region"]):
            self.add_error(
                "certificate_arn",
                f"The certificate is in {found['region']}, the mesh in {sent['region']}.",
            )
        return sent

    def _demand(self, name: str, sentence: str) -> None:
        if name not in self.errors and not self.cleaned_data.get(name):
            self.add_error(name, sentence)

    def _needs(self, name: str, other: str, sentence: str) -> None:
        if self.cleaned_data.get(name) and other not in self.errors:
            self._demand(other, sentence)


def network(text: object) -> ipaddress.IPv4Network:
    """An IPv4 range in the form a.b.c.d/n; raises ValidationError."""
    if not CIDR.fullmatch(str(text)):
        raise ValidationError("Use an IPv4 range, as in 203.0.113.0/24.")
    try:
        return ipaddress.IPv4Network(str(text))
    except ValueError as error:
        try:
            meant = ipaddress.IPv4Network(str(text), strict=False)
        except ValueError:
            raise ValidationError("Use an IPv4 range, as in 203.0.113.0/24.") from error
        raise ValidationError(f"The range that contains this is {meant}.") from error


def _shaped(text: object, shape: re.Pattern[str], sentence: str) -> str:
    if text and not shape.fullmatch(str(text)):
        raise ValidationError(sentence)
    return str(text)


def _image(text: object) -> str:
    found = str(text)
    named = TAG.fullmatch(found) or IMAGE.fullmatch(found)
    if found and (not named or ".." in found or "//" in found):
        raise ValidationError("Use a tag, as in 1.0, or repository@sha256: and 64 digits.")
    return found


def _there(mesh: Mesh) -> list[str]:
    return list(mesh.stacks.exclude(phase="absent").order_by("pk").values_list("name", flat=True))


def _initial(mesh: Mesh | None) -> dict[str, Any]:
    if mesh is None:
        fake = f"localhost:{settings.XDS_TLS_PORT}" if settings.AWS_FAKE else ""
        return {
            "region": settings.AWS_DEFAULT_REGION or ("eu-west-1" if fake else ""),
            "envoy_image": settings.ENVOY_IMAGE if IMAGE.fullmatch(settings.ENVOY_IMAGE) else "",
            "key_pair": settings.KEY_PAIR,
            "control_plane": fake,
        }
    kept: dict[str, Any] = dict(mesh.settings)
    return kept | {name: getattr(mesh, name) for name in MeshForm.COLUMNS}
