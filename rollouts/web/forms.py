"""The forms of the dashboard: strict about every character, one sentence for each mistake.

Used by the deploy form and the service pages. They read what a person typed and write nothing;
``actions`` checks again, because the API and the command line come in without a form.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms import BoundField

from rollouts.domain import plan as plans
from rollouts.domain.plan import MAX_HOLD_S, PRESETS, Plan
from rollouts.errors import InvalidInput
from rollouts.models import Mesh, Service, Version
from rollouts.models.mesh import LABEL
from rollouts.web.asks import without_controls
from rollouts.web.fields import Line, Lines, NumberField, RealField

# Generic for the type checker only: Django's class is not.
if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Service]
else:
    ModelForm = forms.ModelForm

__all__ = [
    "DeployForm",
    "Line",
    "Lines",
    "NumberField",
    "RealField",
    "ServiceForm",
    "VersionForm",
    "plan_name",
    "variables",
    "with_holds",
    "words",
]
CUSTOM = "custom"
COMMAND_MAX, WORDS_MAX = 4000, 100
ENVIRONMENT_MAX, VARIABLES_MAX = 16_000, 100
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}", re.A)
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_IMAGE = re.compile(
    r"[a-z0-9][a-z0-9._:/-]{0,200}(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
    re.A,
)
PLACEHOLDERS = ("port", "python")
RESERVED = ("add", "parts")


class DeployForm(forms.Form):
    """Which version, by which steps. A valid form has cleaned ``plan`` and ``plan_name``."""

    version = NumberField(error_messages={"required": "Choose a version."})
    strategy = Line(max_length=40, required=False)
    steps = Line(max_length=4000, required=False, strip=True)
    hold_s = NumberField(min_value=1, max_value=MAX_HOLD_S, required=False)
    reason = Line(max_length=300, required=False)

    def __init__(self, service: Service, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.service = service

    def clean_version(self) -> Version:
        version = self.service.versions.filter(number=self.cleaned_data["version"]).first()
        if version is None:
            raise ValidationError("There is no such version of this service. Choose one below.")
        if version.pk == self.service.stable_id and not self.service.live_rollout():
            raise ValidationError(f"{version.label} is running already. Choose another one.")
        return version

    def clean_strategy(self) -> str:
        key = str(self.cleaned_data["strategy"])
        if self.service.stable_id is not None and key not in PRESETS and key != CUSTOM:
            raise ValidationError("Choose one of the strategies.")
        return key

    def clean(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        if self.service.stable_id is None:  # nothing to share the requests with
            cleaned.update(plan=plans.ALL_AT_ONCE, plan_name=plan_name("all"))
        elif "strategy" in cleaned and "hold_s" in cleaned and "steps" in cleaned:
            try:
                cleaned["plan"] = self._plan(cleaned)
            except InvalidInput as error:
                self.add_error("steps" if cleaned["strategy"] == CUSTOM else "hold_s", str(error))
            cleaned["plan_name"] = plan_name(cleaned["strategy"])
        return cleaned

    def _plan(self, cleaned: Mapping[str, Any]) -> Plan:
        if cleaned["strategy"] != CUSTOM:
            return with_holds(PRESETS[cleaned["strategy"]].steps, cleaned["hold_s"])
        if not cleaned["steps"]:
            raise InvalidInput("steps", "Write the steps, as in 5:60s, 50:10m, 100.")
        return plans.parse(cleaned["steps"])


def with_holds(plan: Plan, hold_s: int | None) -> Plan:
    """The plan with every timed hold replaced by ``hold_s`` seconds; None leaves it as it is."""
    if hold_s is None:
        return plan
    return plans.check([replace(s, hold_s=hold_s) if s.hold_s else s for s in plan])


def plan_name(strategy: str) -> str:
    return PRESETS[strategy].name if strategy in PRESETS else "Custom steps"


class VersionForm(forms.Form):
    """A build: what it is called and how one task of it is started."""

    label = Line(
        max_length=63,
        validators=[LABEL],
        help_text="As people say it: 1.0, or v2-rc1. It cannot be changed later.",
    )
    command = Line(
        max_length=COMMAND_MAX,
        required=False,
        help_text="What starts one task, as you would type it, or a JSON list. "
        "{port} is the port to listen on, {python} this Python.",
    )
    image = Line(
        max_length=300,
        required=False,
        help_text="For platforms that run images: registry/name:tag or …@sha256:digest.",
    )
    environment = Lines(
        max_length=ENVIRONMENT_MAX, required=False, help_text="One KEY=VALUE a line."
    )
    note = Line(max_length=300, required=False, help_text="What changed, or a ticket.")

    def __init__(self, service: Service | None, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.service = service
        self.on_ecs = service is not None and service.mesh.platform == "ecs"
        if self.on_ecs:
            self._ask_for_an_image()

    def _ask_for_an_image(self) -> None:
        image, command = self.fields["image"], self.fields["command"]
        image.required = True
        image.error_messages["required"] = "Give an image by its digest."
        image.help_text = "By digest, as in repository@sha256:…: a tag can be moved to another one."
        command.help_text = "Only if it is not the one of the image."
        self.order_fields(["label", "image"])

    def clean_label(self) -> str:
        label = str(self.cleaned_data["label"])
        taken = self.service and self.service.versions.filter(label__iexact=label).first()
        if taken:
            raise ValidationError(f"{taken.label} exists already. Versions do not change: add one.")
        return label

    def clean_command(self) -> list[str]:
        argv = words(str(self.cleaned_data["command"]))
        if self.on_ecs and any(f"{{{name}}}" in word for word in argv for name in PLACEHOLDERS):
            raise ValidationError("{port} and {python} are filled in only on this machine.")
        return argv

    def clean_image(self) -> str:
        image = str(self.cleaned_data["image"])
        if image and (not _IMAGE.fullmatch(image) or ".." in image or "//" in image):
            raise ValidationError("Use an image reference, as in registry.example/echo:1.0.")
        if self.on_ecs and "@sha256:" not in image:
            raise ValidationError("Name the image by its digest: repository@sha256: and 64 digits.")
        return image

    def clean_environment(self) -> dict[str, str]:
        return variables(str(self.cleaned_data["environment"]))

    def clean(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        tried = not self.errors.keys() & {"command", "image"}
        if tried and not cleaned.get("command") and not cleaned.get("image"):
            self.add_error("command", "Say how a task is started: a command or an image.")
        return cleaned


def words(text: str) -> list[str]:
    """The argument list of a command line or of a JSON list; raises ValidationError."""
    text = text.strip()
    try:
        argv = json.loads(text) if text.startswith("[") else shlex.split(text)
    except (ValueError, RecursionError) as error:
        raise ValidationError("This is not a command line: a quote or bracket is open.") from error
    if not isinstance(argv, list) or not all(isinstance(word, str) for word in argv):
        raise ValidationError("A JSON command is a list of texts.")
    if len(argv) > WORDS_MAX:
        raise ValidationError(f"A command has at most {WORDS_MAX} words.")
    for word in argv:
        _check_word(word)
    if argv and (not argv[0] or argv[0].startswith("-")):
        raise ValidationError("A command starts with a program, not with an option.")
    return argv


def _check_word(word: str) -> None:
    try:
        without_controls("command", word)
    except InvalidInput as error:
        raise ValidationError(str(error)) from error
    for name in _PLACEHOLDER.findall(word):
        if re.fullmatch(r"\w+", name) and name not in PLACEHOLDERS:
            raise ValidationError(f"{{{name}}} is not known. Use {{port}} and {{python}}.")


def variables(text: str) -> dict[str, str]:
    """KEY=VALUE lines as a mapping; empty lines and # comments are skipped."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, equals, value = line.strip().partition("=")
        if not equals or not _VARIABLE.fullmatch(key):
            raise ValidationError(f"Line {number}: write KEY=VALUE.")
        if key in found:
            raise ValidationError(f"Line {number}: {key} is there twice.")
        found[key] = value
    if len(found) > VARIABLES_MAX:
        raise ValidationError(f"Use at most {VARIABLES_MAX} variables.")
    return found


class ServiceForm(ModelForm):
    """What callers name, how it is checked, watched and rolled out."""

    slug = Line(max_length=40, help_text="In addresses of pages: echo-server.")
    name = Line(max_length=253, help_text="The host name that callers use: echo_server.echo.local.")
    public_prefix = Line(
        max_length=100,
        required=False,
        help_text="Path on the public endpoint, as in /shop/. Empty: only other services call it.",
    )
    tasks = NumberField(min_value=1, max_value=20)
    health_path = Line(max_length=200, required=False, help_text="For HTTP health checks.")
    timeout_s = RealField(min_value=0.1, max_value=300, label="Request time-out")
    sample_path = Line(max_length=300, required=False, help_text="Asked of the public endpoint.")
    sample_rate = RealField(min_value=0, max_value=200, help_text="Requests a second; 0 is off.")
    sample_pattern = Line(
        max_length=200,
        required=False,
        strip=False,
        help_text="Finds the version in an answer: a regular expression with one group, such as "
        r"Version ([0-9.]+). Empty: answers do not say their version.",
    )
    default_plan = Line(max_length=400, help_text="A strategy, or steps as in 5:60s, 50:10m, 100.")
    start_deadline_s = NumberField(min_value=5, max_value=86_400)
    scale_down_delay_s = NumberField(min_value=0, max_value=MAX_HOLD_S)
    abort_delay_s = NumberField(min_value=0, max_value=MAX_HOLD_S)
    drain_s = NumberField(min_value=0, max_value=3600)
    keep_warm = NumberField(min_value=0, max_value=20)

    class Meta:
        model = Service
        fields = [
            "mesh",
            "slug",
            "name",
            "protocol",
            "public_prefix",
            "tasks",
            "health_kind",
            "health_path",
            "timeout_s",
            "idempotent",
            "sample_path",
            "sample_rate",
            "sample_pattern",
            "default_plan",
            "start_deadline_s",
            "scale_down_delay_s",
            "abort_delay_s",
            "drain_s",
            "keep_warm",
        ]

    # What most services never change; shown on demand.
    LATER = (
        *("timeout_s", "idempotent", "default_plan", "start_deadline_s"),
        *("scale_down_delay_s", "abort_delay_s", "drain_s", "keep_warm"),
    )

    def first(self) -> list[BoundField]:
        return [field for field in self if field.name not in self.LATER]

    def later(self) -> list[BoundField]:
        return [field for field in self if field.name in self.LATER]

    def later_is_wrong(self) -> bool:
        return any(name in self.errors for name in self.LATER)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            for fixed in ("mesh", "slug"):
                del self.fields[fixed]
        elif not self.is_bound and not self.initial.get("mesh"):
            self.initial["mesh"] = Mesh.objects.order_by("pk").values_list("pk", flat=True).first()
        for name, label in LABELS.items():
            if name in self.fields:
                self.fields[name].label = label

    def clean_slug(self) -> str:
        slug = str(self.cleaned_data["slug"])
        if slug in RESERVED:
            raise ValidationError(f"{slug} is the address of a page. Choose another name.")
        return slug

    def clean_public_prefix(self) -> str:
        return _path(str(self.cleaned_data["public_prefix"]))

    def clean_health_path(self) -> str:
        return _path(str(self.cleaned_data["health_path"]))

    def clean_sample_path(self) -> str:
        return _path(str(self.cleaned_data["sample_path"]))

    def clean_sample_pattern(self) -> str:
        pattern = str(self.cleaned_data["sample_pattern"])
        try:
            groups = re.compile(pattern).groups if pattern else 1
        except (re.error, RecursionError, OverflowError) as error:
            raise ValidationError(f"This is not a regular expression: {error}.") from error
        if groups != 1:
            raise ValidationError(f"Use one group, as in Version (\\S+); this has {groups}.")
        return pattern

    def clean_default_plan(self) -> str:
        text = str(self.cleaned_data["default_plan"])
        if text not in PRESETS:
            try:
                plans.parse(text)
            except InvalidInput as error:
                raise ValidationError(str(error)) from error
        return text


LABELS = {
    "idempotent": "Calls may be repeated",
    "health_kind": "Health check",
    "timeout_s": "Request time-out, seconds",
    "sample_rate": "Sampler, requests a second",
    "sample_path": "Sampler, path",
    "sample_pattern": "Sampler, version pattern",
    "start_deadline_s": "Start deadline, seconds",
    "scale_down_delay_s": "Keep the old version for, seconds",
    "abort_delay_s": "Keep a rolled back version for, seconds",
    "drain_s": "Drain, seconds",
    "keep_warm": "Old versions kept warm, at most",
}


def _path(path: str) -> str:
    """A path on one host: never another host, never up."""
    if not path:
        return path
    if not re.fullmatch(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*", path, re.A) or path.startswith("//"):
        raise ValidationError("Use a path that starts with one /, as in /ping.")
    if ".." in path.split("?")[0].split("/"):
        raise ValidationError("A path cannot go up with …/../….")
    return path
