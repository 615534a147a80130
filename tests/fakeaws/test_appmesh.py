"""The fake App Mesh, seen by a client: documents, versions, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.fakeaws.control import Fake

Client = Callable[[str], Any]
WHERE = {"meshName": "echo", "virtualRouterName": "echo_server"}


def spec(**weights: int) -> dict[str, Any]:
    targets = [{"virtualNode": node, "weight": weight} for node, weight in weights.items()]
    match = {"serviceName": "proto.echo.EchoService"}
    return {"grpcRoute": {"match": match, "action": {"weightedTargets": targets}}}


@pytest.fixture
def mesh(aws: Fake, client: Client) -> Any:
    """A client, and a mesh "echo" with nodes "a" and "b", a router and a route to "a"."""
    appmesh = client("appmesh")
    appmesh.create_mesh(meshName="echo", tags=[{"key": "meshui:mesh", "value": "echo"}])
    for name in ("a", "b"):
        node(appmesh, name)
    appmesh.create_virtual_router(**WHERE, spec={})
    appmesh.create_route(**WHERE, routeName="all", spec=spec(a=1))
    return appmesh


def node(appmesh: Any, name: str) -> None:
    found = {"awsCloudMap": {"namespaceName": "echo.local", "serviceName": "echo_server"}}
    appmesh.create_virtual_node(
        meshName="echo", virtualNodeName=name, spec={"serviceDiscovery": found}
    )


def refusal(call: Callable[..., Any], **asked: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call(**asked)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def test_a_write_replaces_the_spec_and_counts(mesh: Any):
    before = mesh.describe_route(**WHERE, routeName="all")["route"]["metadata"]
    after = mesh.update_route(**WHERE, routeName="all", spec=spec(a=50, b=50))["route"]
    assert (before["version"], after["metadata"]["version"]) == (1, 2)
    assert after["metadata"]["lastUpdatedAt"] > before["lastUpdatedAt"]
    assert after["metadata"]["createdAt"] == before["createdAt"]
    assert mesh.describe_route(**WHERE, routeName="all")["route"]["spec"] == spec(a=50, b=50)


def test_arns_and_owners_have_their_form(mesh: Any):
    route = mesh.describe_route(**WHERE, routeName="all")["route"]["metadata"]
    start = "arn:aws:appmesh:eu-central-1:123456789012:mesh/echo"
    assert route["arn"] == f"{start}/virtualRouter/echo_server/route/all"
    assert mesh.describe_mesh(meshName="echo")["mesh"]["metadata"]["arn"] == start
    assert route["meshOwner"] == "123456789012"


def test_what_is_missing_is_not_found(mesh: Any):
    with pytest.raises(mesh.exceptions.NotFoundException):
        mesh.describe_mesh(meshName="nobody")
    assert refusal(mesh.describe_route, **WHERE, routeName="other") == ("NotFoundException", 404)
    assert refusal(mesh.list_routes, meshName="echo", virtualRouterName="no")[1] == 404


def test_a_name_is_taken_once(mesh: Any):
    assert refusal(mesh.create_mesh, meshName="echo") == ("ConflictException", 409)
    assert refusal(mesh.create_route, **WHERE, routeName="all", spec=spec(a=1))[1] == 409
    assert len(mesh.list_virtual_nodes(meshName="echo")["virtualNodes"]) == 2


def test_the_same_token_writes_once_and_not_something_else(mesh: Any):
    asked = {**WHERE, "routeName": "all", "clientToken": "abc"}
    first = mesh.update_route(**asked, spec=spec(a=1, b=1))["route"]["metadata"]["version"]
    again = mesh.update_route(**asked, spec=spec(a=1, b=1))["route"]["metadata"]["version"]
    assert first == again
    assert refusal(mesh.update_route, **asked, spec=spec(b=1)) == ("ConflictException", 409)


@pytest.mark.parametrize(
    ("weights", "code"),
    [
        ({"a": 101}, "BadRequestException"),
        ({"a": 0}, "BadRequestException"),
        ({f"n{n}": 1 for n in range(11)}, "BadRequestException"),
        ({"nobody": 1}, "NotFoundException"),
    ],
)
def test_a_route_that_cannot_be_is_refused(mesh: Any, weights: dict[str, int], code: str):
    assert refusal(mesh.update_route, **WHERE, routeName="all", spec=spec(**weights))[0] == code
    assert mesh.describe_route(**WHERE, routeName="all")["route"]["metadata"]["version"] == 1


def test_a_route_takes_ten_targets(mesh: Any):
    names = [f"n{n}" for n in range(10)]
    for name in names:
        node(mesh, name)
    mesh.update_route(**WHERE, routeName="all", spec=spec(**dict.fromkeys(names, 100)))


def test_what_is_used_cannot_be_deleted(mesh: Any):
    in_use = ("ResourceInUseException", 409)
    assert refusal(mesh.delete_virtual_node, meshName="echo", virtualNodeName="a") == in_use
    assert refusal(mesh.delete_virtual_router, **WHERE) == in_use
    assert refusal(mesh.delete_mesh, meshName="echo") == in_use
    mesh.delete_virtual_node(meshName="echo", virtualNodeName="b")


def test_everything_can_be_deleted_from_the_outside_in(mesh: Any, aws: Fake):
    mesh.delete_route(**WHERE, routeName="all")
    gone = mesh.delete_virtual_router(**WHERE)["virtualRouter"]
    assert gone["status"] == {"status": "DELETED"}
    for name in ("a", "b"):
        mesh.delete_virtual_node(meshName="echo", virtualNodeName=name)
    mesh.delete_mesh(meshName="echo")
    assert aws.leftovers() == {}


def test_what_exists_is_a_leftover(mesh: Any, aws: Fake):
    found = {
        kind: [name.split("/")[-1] for name in names] for kind, names in aws.leftovers().items()
    }
    assert found == {
        "mesh": ["echo"],
        "route": ["all"],
        "virtual-node": ["a", "b"],
        "virtual-router": ["echo_server"],
    }


def test_virtual_services_have_their_five_calls(mesh: Any):
    by_router = {"provider": {"virtualRouter": {"virtualRouterName": "echo_server"}}}
    where = {"meshName": "echo", "virtualServiceName": "echo_server.echo.local"}
    mesh.create_virtual_service(**where, spec=by_router)
    by_node = {"provider": {"virtualNode": {"virtualNodeName": "b"}}}
    changed = mesh.update_virtual_service(**where, spec=by_node)["virtualService"]
    assert changed["metadata"]["version"] == 2
    assert mesh.describe_virtual_service(**where)["virtualService"]["spec"] == by_node
    (listed,) = mesh.list_virtual_services(meshName="echo")["virtualServices"]
    assert listed["virtualServiceName"] == "echo_server.echo.local"
    in_use = refusal(mesh.delete_virtual_node, meshName="echo", virtualNodeName="b")
    assert in_use == ("ResourceInUseException", 409)
    mesh.delete_virtual_service(**where)
    assert mesh.list_virtual_services(meshName="echo")["virtualServices"] == []


def test_tags_come_and_go(mesh: Any):
    arn = mesh.describe_mesh(meshName="echo")["mesh"]["metadata"]["arn"]
    mesh.tag_resource(resourceArn=arn, tags=[{"key": "x", "value": "1"}])
    mesh.untag_resource(resourceArn=arn, tagKeys=["meshui:mesh"])
    assert mesh.list_tags_for_resource(resourceArn=arn)["tags"] == [{"key": "x", "value": "1"}]


def test_lists_are_paged(mesh: Any):
    pages = mesh.get_paginator("list_virtual_nodes").paginate(
        meshName="echo", PaginationConfig={"PageSize": 1}
    )
    names = [one["virtualNodeName"] for page in pages for one in page["virtualNodes"]]
    assert names == ["a", "b"]
