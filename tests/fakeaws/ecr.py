"""ECR as deploying by digest needs it: real digests, sizes, findings, seeded images, pulls.

``lifecycle`` asks ``pull_failure``; ``codebuild`` pushes by ``push``. Layers hold no bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.ecr.models import ECRBackend, Image, Repository, ecr_backends
from moto.ecr.responses import ECRResponse

from tests.fakeaws import inject

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
URI = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/(?P<name>[^:@]+)"
    r"(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
# Repository's name ends in → tag: (age in days, size in MB, findings by severity).
SEEDS: dict[str, dict[str, tuple[int, int, dict[str, int]]]] = {
    "echo_server": {
        "0.9": (40, 61, {"HIGH": 2, "MEDIUM": 5, "LOW": 9}),
        "1.0": (6, 58, {"MEDIUM": 1, "LOW": 4}),
        "1.1-broken": (1, 58, {"LOW": 4}),
    },
    "echo_client": {"1.0": (6, 63, {"LOW": 3})},
    "envoy": {"v1.40.0": (20, 142, {"MEDIUM": 1})},
}
BROKEN = "-broken"

TOKEN_FOR = timedelta(hours=12)

_create_repository = ECRBackend.create_repository
_put_image = ECRBackend.put_image


def install() -> None:
    ECRBackend.create_repository = _create_seeded  # type: ignore[method-assign]
    Image._create_digest = _digest  # type: ignore[method-assign]
    Image.get_image_size_in_bytes = _size  # type: ignore[method-assign]
    ECRBackend.put_image = _put_once  # type: ignore[method-assign, assignment]
    ECRResponse.get_authorization_token = _token  # type: ignore[method-assign]


class TagTaken(ServiceException):
    code = "ImageTagAlreadyExistsException"

    def __init__(self, tag: str, repository: str) -> None:
        super().__init__(
            f"The image tag '{tag}' already exists in the '{repository}' repository and cannot be"
            " overwritten because the repository is immutable."
        )


def _put_once(
    self: ECRBackend, repository_name: str, image_manifest: str, image_tag: str, *rest: Any
) -> Image:
    """moto has another word for a taken tag, and no words at all for a missing repository."""
    repository = self._get_repository(repository_name)
    for image in repository.images:
        taken = image_tag in image.image_tags and image.image_manifest != image_manifest
        if taken and repository.is_tag_immutable():
            raise TagTaken(image_tag, repository_name)
    return _put_image(self, repository_name, image_manifest, image_tag, *rest)


def _token(self: ECRResponse) -> ActionResult:
    """moto's token ran out in 2015."""
    host = f"{self.current_account}.dkr.ecr.{self.region}.amazonaws.com"
    token = {
        "authorizationToken": base64.b64encode(b"AWS:fake-registry-password").decode(),
        "expiresAt": datetime.now(UTC) + TOKEN_FOR,
        "proxyEndpoint": f"https://{host}",
    }
    return ActionResult({"authorizationData": [token]})


def _digest(self: Image) -> None:
    self._image_digest = "sha256:" + hashlib.sha256(self.image_manifest.encode()).hexdigest()


def _size(self: Image) -> int:
    parsed = json.loads(self.image_manifest)
    parts = [parsed.get("config") or {}, *(parsed.get("layers") or [])]
    return sum(int(part.get("size", 0)) for part in parts)


def _create_seeded(self: ECRBackend, repository_name: str, *args: Any, **kwargs: Any) -> Repository:
    made = _create_repository(self, repository_name, *args, **kwargs)
    for ending, tags in SEEDS.items():
        if repository_name.replace("-", "_").endswith(ending):
            for tag, (days, megabytes, findings) in tags.items():
                pushed_at = datetime.now(UTC) - timedelta(days=days)
                push(self, repository_name, tag, megabytes, findings, pushed_at)
    return made


def push(
    backend: ECRBackend,
    name: str,
    tag: str,
    megabytes: int = 58,
    findings: dict[str, int] | None = None,
    pushed_at: datetime | None = None,
) -> str:
    """Put an image that nothing else has into a repository; its digest.

    Raises TagTaken when the tag exists and tags are immutable.
    """
    pushed_at = pushed_at or datetime.now(UTC)
    image = backend.put_image(name, manifest_of(name, tag, megabytes, pushed_at), tag, MANIFEST)
    image.image_pushed_at = int(pushed_at.timestamp())
    found: Any = image
    found.image_scan_status = {"status": "COMPLETE", "description": "The scan is complete."}
    found.image_scan_findings_summary = {
        "imageScanCompletedAt": pushed_at + timedelta(seconds=40),
        "vulnerabilitySourceUpdatedAt": pushed_at,
        "findingSeverityCounts": findings or {},
    }
    return str(image.image_digest)


def manifest_of(name: str, tag: str, megabytes: int, at: datetime) -> str:
    """A manifest of two layers; ``at`` makes each push another image."""

    def part(kind: str, media: str, size: int) -> dict[str, Any]:
        seed = f"{name} {tag} {kind} {at.isoformat()}"
        digest = "sha256:" + hashlib.sha256(seed.encode()).hexdigest()
        return {"mediaType": media, "size": size, "digest": digest}

    base = megabytes * 1_000_000 // 4
    parsed = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": part("config", "application/vnd.docker.container.image.v1+json", 7023),
        "layers": [part("base", LAYER, 3 * base), part("app", LAYER, base)],
    }
    return json.dumps(parsed, indent=3)


def pull_failure(image: str, account: str) -> str:
    """Why a task cannot pull ``image`` ("name:tag" or "name@digest"); empty when it can."""
    for part, reason in inject.FAIL_IMAGES.items():
        if part in image:
            return reason
    parsed = URI.fullmatch(image)
    if parsed is None:  # another registry: nobody knows
        return ""
    found = _find(parsed, account)
    if found and not any(tag.endswith(BROKEN) for tag in found.image_tags):
        return ""
    return (
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to"
        f" resolve ref {image}: {image}: not found"
    )


def _find(parsed: re.Match[str], account: str) -> Image | None:
    repository = ecr_backends[account][parsed["region"]].repositories.get(parsed["name"])
    tag = None if parsed["digest"] else parsed["tag"] or "latest"
    for image in repository.images if repository else ():
        if parsed["digest"] == image.image_digest or tag in image.image_tags:
            return image
    return None
