"""Task definitions on the fake AWS: found by digest, removed when nobody uses them."""

from __future__ import annotations

from typing import Any

import pytest

from rollouts.errors import PlatformRefused
from rollouts.models import Service, Version
from rollouts.platforms import ecs_definitions as definitions
from rollouts.platforms.base import platform
from rollouts.platforms.ecs_place import Place, place_of
from tests.aws.ecs.conftest import Side
from tests.aws.ecs_lay import base_definition
from tests.fakeaws.echo import Echo


@pytest.fixture
def place(service: Service) -> Place:
    return place_of(service)


def register(place: Place, version: Version) -> str:
    return definitions.definition_for(place, version, lambda: None)


def test_a_version_runs_its_image_by_digest(stable: Any, side: Side) -> None:
    arn = side.sets()[0]["taskDefinition"]
    answer = side.client("ecs").describe_task_definition(taskDefinition=arn, include=["TAGS"])
    (app,) = answer["taskDefinition"]["containerDefinitions"]
    version = side.version("0.9")
    assert app["image"] == version.image
    assert version.image.endswith(f"echo_server@{version.digest}")
    assert answer["taskDefinition"]["family"] == f"echo-{version.target}"
    tags = {tag["key"]: tag["value"] for tag in answer["tags"]}
    assert (tags["meshui:mesh"], tags["meshui:target"]) == ("echo", version.target)


def test_the_same_content_is_registered_once(place: Place, side: Side) -> None:
    first = register(place, side.version("0.9"))
    assert register(place, side.version("0.9")) == first
    assert side.written() == ["RegisterTaskDefinition"]


def test_another_base_is_another_definition(place: Place, side: Side, client: Any) -> None:
    first = register(place, side.version("0.9"))
    echo = Echo(client, registry="-")
    definition = client("ecs").describe_task_definition(taskDefinition=base_definition(echo))
    assert definition["taskDefinition"]["revision"] == 2
    app = place.service.mesh.stacks.get(name="app")
    changed = echo.definition("echo-echo-server-base", "base", user="1000")
    app.outputs |= {"EchoServerTaskDefinition": changed}
    app.save()
    second = register(place_of(place.service), side.version("0.9"))
    assert first.rpartition(":")[2] == "1"
    assert second.rpartition(":")[2] == "2"


def test_what_a_killed_worker_registered_is_removed_by_the_next(
    place: Place, stable: Any, side: Side
) -> None:
    register(place, side.version("1.0"))
    assert side.families() == {"0.9", "1.0"}
    rollout = side.deploy("1.1")  # another wish, so somebody looks
    side.finished(rollout)
    side.at_rest()
    assert side.families() == {"0.9"}


def test_the_definitions_of_others_stay(stable: Any, side: Side) -> None:
    ecs = side.client("ecs")
    (app,) = ecs.describe_task_definition(taskDefinition=side.sets()[0]["taskDefinition"])[
        "taskDefinition"]["containerDefinitions"]  # fmt: skip
    for family in ("echo-greeter--99", "echo-greeter--x", "echo-greeter-old--1"):
        ecs.register_task_definition(family=family, containerDefinitions=[app | {"memory": 64}])
    side.finished(side.deploy("1.0"), seconds=60)
    side.at_rest()
    arns = ecs.list_task_definitions()["taskDefinitionArns"]
    left = {arn.rpartition("/")[2].partition(":")[0] for arn in arns}
    assert {"echo-greeter--99", "echo-greeter--x", "echo-greeter-old--1"} <= left


def test_tasks_join_the_target_group_that_the_router_names(service: Any, side: Side) -> None:
    client, version = side.client, side.version("0.9")
    api, ec2 = client("elbv2"), client("ec2")
    subnets = ec2.describe_subnets()["Subnets"][:2]
    group = api.create_target_group(
        Name="echo-v1", VpcId=subnets[0]["VpcId"], TargetType="ip", Protocol="HTTP", Port=50051
    )["TargetGroups"][0]["TargetGroupArn"]
    joins = {version.pk: {"target_group": group, "container": "app", "port": "50051"}}
    apply = platform("ecs").apply
    with pytest.raises(PlatformRefused, match="associated load balancer") as told:
        apply(service, {version: 2}, revision=10**9, joins=joins)
    assert not told.value.permanent, "the router's rule may not be known everywhere yet"
    balancer = api.create_load_balancer(
        Name="b", Subnets=[each["SubnetId"] for each in subnets]
    )["LoadBalancers"][0]["LoadBalancerArn"]  # fmt: skip
    api.create_listener(
        LoadBalancerArn=balancer, Port=80, Protocol="HTTP",
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
    )  # fmt: skip
    apply(service, {version: 2}, revision=10**9, joins=joins)
    assert side.sets()[0]["loadBalancers"] == [
        {"targetGroupArn": group, "containerName": "app", "containerPort": 50051}
    ]
    side.fake.settle()
    health = api.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    assert len(health) == 2
