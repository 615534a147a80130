"""The form that asks for an image: where it comes from, and what its version is called.

Fields of the kind that was not chosen are ignored. Whether an image can be built is for
``actions.request_build`` to say; its sentence then stands next to the field it names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError

from rollouts.builders.codebuild import HOSTS, PROJECT
from rollouts.builders.context import MOST_BYTES
from rollouts.builders.docker import SAMPLE, UPLOAD
from rollouts.models import Service
from rollouts.models.mesh import LABEL
from rollouts.web.fields import Line


@dataclass(frozen=True)
class Kind:
    """One way to an image. ``missing``: why it cannot be chosen here, empty when it can."""

    key: str
    name: str
    about: str
    missing: str = ""


def kinds(service: Service) -> list[Kind]:
    """The three ways, the simplest first."""
    project = PROJECT in service.mesh.outputs()
    return [
        Kind("existing", "An image that is there", "A tag or a digest in the repository."),
        Kind(
            "codebuild", "CodeBuild", "AWS takes the code from a Git host and builds it.",
            "" if project else f"The stack infra of {service.mesh.slug} has no {PROJECT}.",
        ),
        Kind(
            "docker", "Docker", "The build worker of meshui builds an upload, or the sample.",
            "" if settings.DOCKER_HOST else "No engine is set: MESHUI_DOCKER_HOST names one.",
        ),
    ]  # fmt: skip


class BuildForm(forms.Form):
    """A valid form has cleaned ``source`` and ``archive`` for ``request_build``."""

    kind = Line(error_messages={"required": "Choose where the image comes from."})
    label = Line(
        max_length=63,
        validators=[LABEL],
        help_text="What the version will be called: 1.1, or v2-rc1. A new image gets it as tag.",
    )
    image = Line(max_length=128, required=False, label="Tag or digest",
                 help_text="As in 1.0, or sha256:… with its 64 digits.")  # fmt: skip
    location = Line(
        max_length=300,
        required=False,
        label="Address of the code",
        help_text=f"As in https://github.com/team/echo, on {', '.join(HOSTS)}.",
    )
    ref = Line(max_length=200, required=False, label="Branch, tag or commit",
               help_text="Empty: the default branch.")  # fmt: skip
    context = Line(required=False, label="What to build")
    archive = forms.FileField(
        required=False,
        label="Tarball",
        help_text=f"A folder as .tar or .tar.gz, at most {MOST_BYTES // 10**6} MB, with its "
        "Dockerfile.",
        widget=forms.FileInput(attrs={"accept": ".tar,.tgz,.gz,application/gzip"}),
    )
    dockerfile = Line(max_length=200, required=False, initial="Dockerfile", label="Dockerfile",
                      help_text="Its path in the tarball, or in the code.")  # fmt: skip
    note = Line(max_length=300, required=False, help_text="What changed, or a ticket.")

    def __init__(self, service: Service, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.service = service
        self.kinds = kinds(service)

    def clean_kind(self) -> str:
        key = str(self.cleaned_data["kind"])
        found = next((kind for kind in self.kinds if kind.key == key), None)
        if found is None:
            raise ValidationError("Choose where the image comes from.")
        if found.missing:
            raise ValidationError(found.missing)
        return key

    def clean_archive(self) -> bytes | None:
        given = self.cleaned_data.get("archive")
        if given is None or self.data.get("kind") != "docker":
            return None
        if given.size > MOST_BYTES:
            raise ValidationError(f"Upload at most {MOST_BYTES // 10**6} MB.")
        return bytes(given.read())

    def clean(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        asked = {name: cleaned.get(name) or "" for name in self._names(cleaned)}
        cleaned["source"] = {name: value for name, value in asked.items() if value}
        if cleaned["source"].get("context") != UPLOAD:
            cleaned["archive"] = None
        return cleaned

    def _names(self, cleaned: dict[str, Any]) -> Sequence[str]:
        """The fields that say what to build, for the chosen kind."""
        if cleaned.get("kind") == "docker":
            sample = cleaned.get("context") == SAMPLE
            return ("context",) if sample else ("context", "dockerfile")
        return {"existing": ("image",), "codebuild": ("location", "ref", "dockerfile")}.get(
            str(cleaned.get("kind")), ()
        )
