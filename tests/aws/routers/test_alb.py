"""What only the load balancer has: target groups, which must be in use before tasks join them."""

from __future__ import annotations

from typing import Any

import pytest

from rollouts.models import Service
from rollouts.routers.alb import AlbRouter, health_check


@pytest.fixture(params=["alb"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ensure(service: Service, version: Any) -> Any:
    service.versions.filter(label="0.9").update(count=2)
    return AlbRouter().ensure_targets(service, [version("0.9")])


def group(client: Any, version: Any) -> dict[str, Any]:
    name = f"shop-v{version('0.9').pk}"
    found: dict[str, Any] = client("elbv2").describe_target_groups(Names=[name])["TargetGroups"][0]
    return found


def test_a_group_is_in_use_at_weight_0_before_tasks_join_it(
    service: Service, version: Any, client: Any, side: Any
) -> None:
    joins = ensure(service, version)
    arn = group(client, version)["TargetGroupArn"]
    assert joins == {version("0.9").pk: {"target_group": arn, "container": "app", "port": "50051"}}
    assert side.weights() == {"spare": 1, "0.9": 0}


def test_a_group_speaks_grpc_and_asks_grpc_health(
    service: Service, version: Any, client: Any
) -> None:
    ensure(service, version)
    made = group(client, version)
    assert (made["TargetType"], made["ProtocolVersion"], made["Port"]) == ("ip", "GRPC", 50051)
    assert made["HealthCheckPath"] == "/grpc.health.v1.Health/Check"
    assert made["Matcher"] == {"GrpcCode": "0"}
    api = client("elbv2")
    told = api.describe_target_group_attributes(TargetGroupArn=made["TargetGroupArn"])
    found = {a["Key"]: a["Value"] for a in told["Attributes"]}
    assert found["deregistration_delay.timeout_seconds"] == "30"
    tags = api.describe_tags(ResourceArns=[made["TargetGroupArn"]])["TagDescriptions"][0]["Tags"]
    assert {t["Key"]: t["Value"] for t in tags} == {
        "meshui:mesh": "shop",
        "meshui:target": version("0.9").target,
    }


@pytest.mark.parametrize(
    ("protocol", "kind_of_health", "path", "matcher"),
    [
        ("grpc", "grpc", "/grpc.health.v1.Health/Check", {"GrpcCode": "0"}),
        ("grpc", "tcp", "/AWS.ALB/healthcheck", {"GrpcCode": "12"}),
        ("http", "http", "/ping", {"HttpCode": "200"}),
        ("http", "none", "/", {"HttpCode": "200-499"}),
    ],
)
def test_health_is_asked_as_the_service_says(
    protocol: str, kind_of_health: str, path: str, matcher: dict[str, str]
) -> None:
    asked = health_check(Service(protocol=protocol, health_kind=kind_of_health))
    assert (asked["HealthCheckPath"], asked["Matcher"]) == (path, matcher)


def test_a_group_made_by_a_killed_worker_is_taken_over(
    service: Service, version: Any, client: Any, side: Any, to_fake: Any
) -> None:
    to_fake.inject("elbv2", "ModifyTargetGroupAttributes", error="500", times=1)
    with pytest.raises(Exception, match="answered elbv2:ModifyTargetGroupAttributes"):
        ensure(service, version)
    assert side.weights() == {"spare": 1}
    side.calls()
    joins = ensure(service, version)
    assert "CreateTargetGroup" not in side.calls()
    assert joins[version("0.9").pk]["target_group"] == group(client, version)["TargetGroupArn"]
    assert side.weights() == {"spare": 1, "0.9": 0}


def test_a_group_that_is_in_use_costs_one_call_a_tick(
    service: Service, version: Any, side: Any
) -> None:
    ensure(service, version)
    side.calls()
    by = AlbRouter()
    by.ensure_targets(service, [version("0.9")])
    by.drop_targets(service, [version("0.9")])
    assert side.calls() == ["DescribeTargetGroups"]
