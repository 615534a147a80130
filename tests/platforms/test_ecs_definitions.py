"""What is registered for a version: the stack's definition with the version's image and names."""

from __future__ import annotations

from typing import Any

import pytest

from rollouts.errors import PlatformRefused
from rollouts.models import Service, Version
from rollouts.platforms.ecs_definitions import copy_of

IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/echo/echo_server@sha256:" + "a" * 64
LOGS = {"logDriver": "awslogs", "options": {"awslogs-group": "g", "awslogs-stream-prefix": "x"}}
BASE: dict[str, Any] = {
    "taskDefinitionArn": "arn:aws:ecs:eu-central-1:123456789012:task-definition/base:3",
    "family": "base",
    "revision": 3,
    "status": "ACTIVE",
    "registeredBy": "somebody",
    "cpu": "256",
    "memory": "512",
    "volumes": [],
    "networkMode": "awsvpc",
    "requiresCompatibilities": ["FARGATE"],
    "executionRoleArn": "arn:aws:iam::123456789012:role/start",
    "proxyConfiguration": {"type": "APPMESH", "containerName": "envoy"},
    "containerDefinitions": [
        {
            "name": "app",
            "image": "base",
            "environment": [{"name": "PORT", "value": "50051"}, {"name": "VERSION", "value": "?"}],
            "logConfiguration": LOGS,
        },
        {
            "name": "envoy",
            "image": "envoy@sha256:1",
            "environment": [
                {"name": "APPMESH_RESOURCE_ARN", "value": "mesh/x/virtualNode/{target}"},
                {"name": "JSON", "value": '{"a": "{label}"}'},
            ],
        },
    ],
}


def version(**fields: Any) -> Version:
    service = Service(slug="greeter", name="echo_server.echo.local")
    return Version(pk=7, service=service, label="1.0", **{"image": IMAGE} | fields)


def copied(**fields: Any) -> dict[str, Any]:
    return copy_of(BASE, version(**fields), port=50051)


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["environment"]}


def test_the_version_runs_its_own_image_under_its_own_name() -> None:
    app, envoy = copied()["containerDefinitions"]
    assert app["image"] == IMAGE
    assert environment(app) == {"PORT": "50051", "VERSION": "1.0"}
    assert envoy["image"] == "envoy@sha256:1"


def test_places_are_filled_in_every_container_and_other_braces_stay() -> None:
    _, envoy = copied()["containerDefinitions"]
    assert environment(envoy) == {
        "APPMESH_RESOURCE_ARN": "mesh/x/virtualNode/greeter--7", "JSON": '{"a": "1.0"}',
    }  # fmt: skip


def test_its_logs_have_a_stream_of_their_own() -> None:
    app, _ = copied()["containerDefinitions"]
    assert app["logConfiguration"]["options"] == {
        "awslogs-group": "g", "awslogs-stream-prefix": "greeter--7",
    }  # fmt: skip


def test_the_versions_environment_and_command_win() -> None:
    app, _ = copied(
        environment={"VERSION": "one", "COLOUR": "red"}, command=["serve", "--port", "{port}"]
    )["containerDefinitions"]
    assert environment(app) == {"COLOUR": "red", "PORT": "50051", "VERSION": "one"}
    assert app["command"] == ["serve", "--port", "50051"]


def test_only_what_can_be_registered_is_copied() -> None:
    assert set(copied()) == {
        "cpu", "memory", "networkMode", "requiresCompatibilities", "executionRoleArn",
        "proxyConfiguration", "containerDefinitions",
    }  # fmt: skip


def test_the_stacks_own_definition_is_left_as_it_is() -> None:
    copied()
    assert BASE["containerDefinitions"][0]["image"] == "base"
    assert LOGS["options"]["awslogs-stream-prefix"] == "x"  # type: ignore[index]


@pytest.mark.parametrize("image", ["", "echo_server:1.0"])
def test_an_image_without_a_digest_is_refused(image: str) -> None:
    with pytest.raises(PlatformRefused, match=r"1\.0 names no image by digest") as told:
        copied(image=image)
    assert told.value.permanent


def test_a_base_without_the_container_is_refused() -> None:
    other = BASE | {"containerDefinitions": [{"name": "web"}]}
    with pytest.raises(PlatformRefused, match="base has no container 'app'"):
        copy_of(other, version(), port=1)
