"""Which repository holds the images of a service, and what is in it.

Used by every builder and by the page of images. Reads outputs of stacks and asks ECR; writes
nothing, keeps nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings

from rollouts import aws
from rollouts.aws import Account
from rollouts.errors import BuildError
from rollouts.models import Build, Service

SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNDEFINED")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.A)
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.A)
_ECR = re.compile(r"([0-9]{12})\.dkr\.ecr\.", re.A)


@dataclass(frozen=True)
class Repository:
    """``uri`` without a tag, as 123456789012.dkr.ecr.eu-west-1.amazonaws.com/echo/echo_server."""

    uri: str
    account: Account

    @property
    def name(self) -> str:
        return self.uri.partition("/")[2]

    @property
    def arguments(self) -> dict[str, str]:
        """How ECR is told which repository; its account when the address says it."""
        owner = _ECR.match(self.uri)
        return {"repositoryName": self.name} | ({"registryId": owner[1]} if owner else {})


@dataclass(frozen=True)
class Image:
    """One image of a repository. ``findings``: severity → how many, None: not scanned (yet)."""

    digest: str
    tags: Sequence[str]
    pushed_at: datetime | None
    size: int
    findings: Mapping[str, int] | None
    scan: str = ""


def repository(service: Service) -> Repository:
    """The repository of a service. Raises BuildError without one, InvalidInput without a region."""
    uri = service.mesh.outputs().get(f"{service.output_prefix}Repository", "")
    if not uri:
        raise BuildError(
            f"{service.slug} has no repository: create the stack infra of {service.mesh.slug} "
            f"first. It has the output {service.output_prefix}Repository.",
            permanent=True,
        )
    return Repository(uri, aws.account_of(service.mesh.settings))


def push_uri(service: Service) -> str:
    """Where a Docker engine pushes: the repository, on MESHUI_REGISTRY when that is set."""
    host = settings.REGISTRY
    if not host:
        return repository(service).uri
    name = service.mesh.outputs().get(f"{service.output_prefix}Repository", "").partition("/")[2]
    own = f"{service.mesh.slug}/{service.name.partition('.')[0]}"
    return f"{host}/{name or own}"


def tag_of(build: Build) -> str:
    """The tag an image is pushed with: the label; a tag has no plus sign."""
    return build.label.replace("+", "_")


def images(found: Repository) -> list[Image]:
    """Every image of the repository, newest first. Raises AwsError."""
    told = aws.pages(found.account, "ecr", "describe_images", "imageDetails", **found.arguments)
    made = [_image(each) for each in told]
    return sorted(made, key=lambda image: image.pushed_at.timestamp() if image.pushed_at else 0.0,
                  reverse=True)  # fmt: skip


def image(found: Repository, *, tag: str = "", digest: str = "") -> Image:
    """The image of a tag or a digest. Raises AwsError, AwsGone when there is none."""
    wanted = {"imageDigest": digest} if digest else {"imageTag": tag}
    told = aws.call(found.account, "ecr", "describe_images", imageIds=[wanted], **found.arguments)
    return _image(told["imageDetails"][0])


def _image(told: Any) -> Image:
    summary = told.get("imageScanFindingsSummary") or {}
    counts = summary.get("findingSeverityCounts")
    scan = str((told.get("imageScanStatus") or {}).get("status", ""))
    found: dict[str, int] | None = None
    if counts is not None or scan == "COMPLETE":
        found = {name: int((counts or {})[name]) for name in SEVERITIES if (counts or {}).get(name)}
    return Image(
        digest=str(told["imageDigest"]),
        tags=tuple(sorted(told.get("imageTags") or ())),
        pushed_at=told.get("imagePushedAt"),
        size=int(told.get("imageSizeInBytes") or 0),
        findings=found,
        scan=scan,
    )
