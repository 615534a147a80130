"""What only App Mesh has: virtual nodes, versions of a route, and an end."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from rollouts import aws as calls
from rollouts import clock as clocks
from rollouts.errors import AwsRefused, RouterError, RouterUnreachable
from rollouts.models import Service
from rollouts.routers.appmesh import ENDED, AppMeshRouter
from tests.aws.routers import lay


@pytest.fixture(params=["appmesh"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def first(service: Service, version: Any) -> Service:
    """0.9 has tasks and 100 % of nothing yet: its node is to be made."""
    service.versions.filter(label="0.9").update(count=2)
    AppMeshRouter().ensure_targets(service, [version("0.9")])
    return service


def node(client: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = client("appmesh").describe_virtual_node(
        meshName="shop", virtualNodeName=name
    )["virtualNode"]
    return found


def test_a_node_finds_the_instances_of_its_task_set(
    first: Service, version: Any, client: Any
) -> None:
    made = node(client, version("0.9").target)
    listener = made["spec"]["listeners"][0]
    assert listener["portMapping"] == {"port": 50051, "protocol": "grpc"}
    assert listener["healthCheck"]["protocol"] == "grpc"
    assert made["spec"]["serviceDiscovery"]["awsCloudMap"] == {
        "namespaceName": "shop.local",
        "serviceName": "echo_server",
        "attributes": [{"key": "ECS_TASK_SET_EXTERNAL_ID", "value": version("0.9").target}],
    }
    tags = client("appmesh").list_tags_for_resource(resourceArn=made["metadata"]["arn"])["tags"]
    assert {t["key"]: t["value"] for t in tags} == {
        "meshui:mesh": "shop",
        "meshui:target": version("0.9").target,
    }


def test_a_new_node_is_named_by_the_route_at_weight_0(first: Service, side: Any) -> None:
    assert side.weights() == {"spare": 1, "0.9": 0}


def test_nodes_are_listed_once_a_tick(first: Service, version: Any, side: Any) -> None:
    side.calls()
    by = AppMeshRouter()
    by.ensure_targets(first, [version("0.9")])
    by.drop_targets(first, [version("0.9")])
    assert side.calls() == ["ListVirtualNodes"]


def test_everything_else_of_the_route_is_kept(first: Service, side: Any) -> None:
    spec = side.spec()["grpcRoute"]
    assert {key: spec[key] for key in ("match", "retryPolicy", "timeout")} == {
        key: lay.GRPC_ROUTE[key] for key in ("match", "retryPolicy", "timeout")
    }


def test_a_node_that_is_in_use_is_left_for_the_next_tick(
    first: Service, side: Any, to_fake: Any
) -> None:
    first.versions.update(count=0)
    to_fake.inject("appmesh", "DeleteVirtualNode", error="ResourceInUseException", times=1)
    AppMeshRouter().drop_targets(first, [])
    assert side.targets() == {"spare", "0.9"}
    assert side.weights() == {"spare": 1}, "the route first, the node after"
    AppMeshRouter().drop_targets(first, [])
    assert side.targets() == {"spare"}


def test_a_node_stays_as_long_as_a_task_of_its_version_is_seen(
    first: Service, version: Any, side: Any, clock: Any
) -> None:
    first.versions.update(count=0)
    first.running.create(version=version("0.9"), name="t", index=0, host="127.0.0.1",
                         state="stopping", seen_at=clock.moment.now)  # fmt: skip
    AppMeshRouter().drop_targets(first, [])
    assert side.targets() == {"spare", "0.9"}


def test_a_write_of_somebody_else_is_noticed_even_when_the_weights_are_the_same_again(
    first: Service, version: Any, side: Any, caplog: Any, clock: Any
) -> None:
    weights = {str(version("0.9").pk): 100}
    first.routes.create(generation=1, weights=weights, at=clock.moment.now)
    Service.objects.filter(pk=first.pk).update(generation=1, weights=weights)
    service, by = Service.objects.select_related("mesh").get(pk=first.pk), AppMeshRouter()
    by.apply(service, 1, wait_s=0)
    side.put({"0.9": 1})
    by.observe(service)
    assert "or somebody else" in caplog.text
    caplog.clear()
    by.observe(service)
    assert "or somebody else" not in caplog.text, "it is said once"


def test_a_botocore_without_app_mesh_is_said_in_one_sentence(
    first: Service, monkeypatch: Any
) -> None:
    def dropped(*_: Any, **__: Any) -> None:
        raise AwsRefused("The installed botocore does not know appmesh.", code="UnknownService")

    monkeypatch.setattr(calls, "call", dropped)
    Service.objects.filter(pk=first.pk).update(generation=1)
    with pytest.raises(RouterError, match="does not know appmesh") as told:
        AppMeshRouter().observe(Service.objects.get(pk=first.pk))
    assert told.value.permanent


@pytest.fixture
def on(monkeypatch: Any, settings: Any) -> Any:
    """Ask the real address, where nobody is, on a day."""

    def ask(service: Service, day: datetime) -> RouterError:
        settings.AWS_ENDPOINT_URL = ""
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        calls.forget()
        at = replace(clocks.moment(), now=day)
        monkeypatch.setattr(clocks, "moment", lambda: at)
        Service.objects.filter(pk=service.pk).update(generation=1)
        with pytest.raises(RouterError) as told:
            AppMeshRouter().observe(Service.objects.get(pk=service.pk))
        return told.value

    return ask


def test_after_its_end_silence_is_said_to_be_the_end(first: Service, on: Any) -> None:
    told = on(first, ENDED)
    assert "AWS shut App Mesh down on 2026-09-30" in str(told)
    assert told.permanent


def test_before_its_end_silence_is_silence(first: Service, on: Any) -> None:
    told = on(first, ENDED - timedelta(days=1))
    assert isinstance(told, RouterUnreachable)
    assert "shut" not in str(told)


def test_the_end_is_said_wherever_the_router_is_offered() -> None:
    assert "AWS ended App Mesh on 2026-09-30" in AppMeshRouter.caps.notice
