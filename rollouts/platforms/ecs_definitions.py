"""Task definitions of versions: a copy of the stack's own one, with the version's image by digest.

Each version has a family of its own. What was registered is found again by a digest of its content,
so that a worker that died does not leave two. ``ecs_sets`` calls this inside the service's lock.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rollouts import aws
from rollouts.errors import AwsDenied, PlatformRefused
from rollouts.models import Version
from rollouts.platforms.ecs_place import Place

log = logging.getLogger(__name__)

CONTAINER = "app"
TAG_MESH, TAG_TARGET, TAG_CONTENT = "meshui:mesh", "meshui:target", "meshui:content"
DELETED_AT_ONCE = 10  # ECS's limit
COPIED = (
    "taskRoleArn", "executionRoleArn", "networkMode", "containerDefinitions", "volumes",
    "placementConstraints", "requiresCompatibilities", "cpu", "memory", "pidMode", "ipcMode",
    "proxyConfiguration", "ephemeralStorage", "runtimePlatform",
)  # fmt: skip
Check = Callable[[], None]  # right before a write; raises LockBusy


def family(place: Place, pk: int) -> str:
    return f"{place.mesh}-{place.target(pk)}"


def definition_for(place: Place, version: Version, check: Check) -> str:
    """ARN of the version's task definition, found or registered.

    Raises AwsError; PlatformRefused when the version names no image by digest.
    """
    base = place.call("describe_task_definition", taskDefinition=place.own("TaskDefinition"))
    content = copy_of(base["taskDefinition"], version, port=int(place.own("Port")))
    content["family"] = family(place, version.pk)
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:40]
    for arn in reversed(_listed(place, content["family"], "ACTIVE")):
        if _tags(place, arn).get(TAG_CONTENT) == digest:
            return arn
    check()
    tags = {TAG_MESH: place.mesh, TAG_TARGET: version.target, TAG_CONTENT: digest}
    made = place.call("register_task_definition", **content, tags=tags_of(tags))
    return str(made["taskDefinition"]["taskDefinitionArn"])


def tags_of(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def copy_of(base: Mapping[str, Any], version: Version, *, port: int) -> dict[str, Any]:
    """What to register for a version. Raises PlatformRefused when it has no image by digest."""
    if "@sha256:" not in version.image:
        raise PlatformRefused(
            f"{version.label} names no image by digest: {version.image or 'it has none'}."
        )
    content = {key: base[key] for key in COPIED if base.get(key)}
    content["containerDefinitions"] = [
        _container(each, version, port) for each in base["containerDefinitions"]
    ]
    if all(each["name"] != CONTAINER for each in content["containerDefinitions"]):
        raise PlatformRefused(
            f"The stack's task definition {base.get('family', '')} has no container {CONTAINER!r}."
        )
    return content


def _container(base: Mapping[str, Any], version: Version, port: int) -> dict[str, Any]:
    container = dict(base)
    places = {"target": version.target, "label": version.label, "port": str(port),
              "python": "python"}  # fmt: skip
    environment = {each["name"]: each["value"] for each in base.get("environment", [])}
    if base["name"] == CONTAINER:
        container["image"] = version.image
        environment |= {"VERSION": version.label, **version.environment}
        if version.command:
            container["command"] = [_filled(word, places) for word in version.command]
    container["environment"] = [
        {"name": name, "value": _filled(str(value), places)}
        for name, value in sorted(environment.items())
    ]
    logs = base.get("logConfiguration")
    if logs and logs.get("logDriver") == "awslogs":
        options = {**logs.get("options", {}), "awslogs-stream-prefix": version.target}
        container["logConfiguration"] = {**logs, "options": options}
    return container


def _filled(text: str, places: Mapping[str, str]) -> str:
    """Not ``format``: other braces, as in JSON, stay as they are."""
    for name, value in places.items():
        text = text.replace("{" + name + "}", value)
    return text


def remove_unused(place: Place, keep: Iterable[int], check: Check) -> None:
    """Remove the definitions of every version but those, whoever left them there.

    What is deregistered cannot be started any more; that it is then deleted for good is not worth
    failing for.
    """
    kept = {family(place, pk) for pk in keep}
    for arn in _unused(place, kept, "ACTIVE"):
        check()
        place.call("deregister_task_definition", taskDefinition=arn)
    arns = _unused(place, kept, "INACTIVE")
    try:
        for at in range(0, len(arns), DELETED_AT_ONCE):
            check()
            some = arns[at : at + DELETED_AT_ONCE]
            place.call("delete_task_definitions", taskDefinitions=some)
    except AwsDenied as error:
        log.info("%s: %s", place.service.slug, error)


def _unused(place: Place, kept: set[str], status: str) -> list[str]:
    """ARNs of this status that meshui made for versions of the service, but not for ``kept``."""
    prefix = family(place, 0).removesuffix("0")
    families: list[Any] = aws.pages(
        place.account, "ecs", "list_task_definition_families", "families",
        familyPrefix=prefix, status=status,
    )  # fmt: skip
    return [
        arn
        for name in families
        if name not in kept and re.fullmatch(rf"{re.escape(prefix)}[0-9]+", name)
        for arn in _listed(place, name, status)
        if _tags(place, arn).get(TAG_MESH) == place.mesh
    ]


def _listed(place: Place, name: str, status: str) -> list[str]:
    """ARNs of the family's revisions, oldest first."""
    found: list[Any] = aws.pages(
        place.account, "ecs", "list_task_definitions", "taskDefinitionArns",
        familyPrefix=name, status=status,
    )  # fmt: skip
    return [str(arn) for arn in found]


def _tags(place: Place, arn: str) -> dict[str, str]:
    answer = place.call("describe_task_definition", taskDefinition=arn, include=["TAGS"])
    return {tag["key"]: tag["value"] for tag in answer.get("tags", [])}
