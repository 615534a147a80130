"""Images that a template wants by digest, found in the mesh's own repositories.

Called by ``proposing``. A setting may hold a whole image by digest, a tag, or nothing (the newest).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rollouts import aws
from rollouts.errors import AwsGone, ProvisionerError
from rollouts.models import Mesh
from rollouts.stacks.parameters import setting_of

REPOSITORIES = {"EchoClientImage": "EchoClientRepository", "EnvoyImage": "EnvoyRepository"}


def resolved(mesh: Mesh, wanted: list[str], outputs: Mapping[str, str]) -> dict[str, str]:
    """repository@sha256:… for each parameter of ``wanted`` that names an image.

    Raises ProvisionerError when there is no such image, AwsError.
    """
    names = [name for name in REPOSITORIES if name in wanted]
    if mesh.router == "alb" and "EnvoyImage" in names:
        names.remove("EnvoyImage")  # nothing would run it
    return {name: _one(mesh, name, outputs) for name in names}


def _one(mesh: Mesh, name: str, outputs: Mapping[str, str]) -> str:
    setting = setting_of(name)
    given = str(mesh.settings.get(setting) or "")
    if "@sha256:" in given:
        return given
    repository = outputs.get(REPOSITORIES[name], "")
    tag = given.removeprefix(f"{repository}:")
    if "/" in tag or ":" in tag:
        raise ProvisionerError(
            f"The setting {setting} must name an image by digest, or a tag of {repository}.",
            permanent=True,
        )
    if not repository:
        raise ProvisionerError(
            f"The stack infra is needed first: {setting} is not set, and the repository of that "
            "image comes with infra.",
            permanent=True,
        )
    return f"{repository}@{_digest(mesh, repository, tag, setting)}"


def _digest(mesh: Mesh, repository: str, tag: str, setting: str) -> str:
    name = repository.partition("/")[2]
    account = aws.account_of(mesh.settings)
    try:
        found: list[Any] = aws.pages(
            account, "ecr", "describe_images", "imageDetails", repositoryName=name
        )
    except AwsGone:
        found = []
    tagged = [each for each in found if tag in each.get("imageTags", []) or not tag]
    if not tagged:
        what = f"no image {tag}" if tag else "no image"
        raise ProvisionerError(
            f"There is {what} in {name} yet: push one, or give the setting {setting}.",
            permanent=True,
        )
    newest = max(tagged, key=lambda each: each["imagePushedAt"])
    return str(newest["imageDigest"])
