"""A mesh becomes resources, or is refused with a sentence."""

from dataclasses import replace

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToDict

from rollouts.errors import InvalidMesh
from rollouts.xds.snapshot import Endpoint, HealthCheck, snapshot
from rollouts.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from tests.xds.shop import NAME, NEW, OLD, mesh, service, target

KINDS = {CLUSTER: Cluster, ENDPOINTS: ClusterLoadAssignment, ROUTES: RouteConfiguration}


def built(of, kind, name):
    packed = AnyMessage.FromString(snapshot(of).resources[kind][name])
    message = KINDS[kind]()
    assert packed.Unpack(message)
    return MessageToDict(message, preserving_proto_field_name=True)


def echo(old=50, new=50, **changes):
    made = service(target(OLD, 1001), target(NEW, 1002), weights={OLD: old, NEW: new})
    return replace(made, **changes)


def the_route(of):
    return built(of, ROUTES, "egress")["virtual_hosts"][0]["routes"][0]


def test_the_same_mesh_gives_the_same_versions():
    assert snapshot(mesh(echo())).versions == snapshot(mesh(echo())).versions


def test_only_the_routes_change_with_the_weights():
    before, after = snapshot(mesh(echo())), snapshot(mesh(echo(20, 80)))
    changed = {kind for kind in before.versions if before.versions[kind] != after.versions[kind]}
    assert changed == {ROUTES}


def test_routes_carry_the_exact_weights_and_new_falls_back_to_stable():
    weighted = the_route(mesh(echo(93, 7)))["route"]["weighted_clusters"]["clusters"]
    assert {c["name"]: c["weight"] for c in weighted} == {OLD: 93, f"{NEW}+stable": 7}


def test_a_target_of_weight_0_is_a_cluster_and_not_in_the_routes():
    of = mesh(echo(100, 0))
    assert NEW in snapshot(of).resources[CLUSTER]
    weighted = the_route(of)["route"]["weighted_clusters"]["clusters"]
    assert [c["name"] for c in weighted] == [OLD]


def test_a_service_without_a_version_answers_503_with_a_sentence():
    answer = the_route(mesh(echo(weights={}, stable=None)))["direct_response"]
    assert answer["status"] == 503
    assert answer["body"]["inline_string"] == f"{NAME} has no version yet.\n"


def test_only_an_idempotent_service_repeats_what_may_have_run():
    retry = the_route(mesh(echo(idempotent=False)))["route"]["retry_policy"]
    assert retry["retry_on"] == "connect-failure,refused-stream,reset-before-request"
    assert "per_try_timeout" not in retry
    retry = the_route(mesh(echo()))["route"]["retry_policy"]
    assert retry["retry_on"] == "connect-failure,refused-stream,reset,unavailable,cancelled"
    assert retry["per_try_timeout"] == "1s"


def test_clusters_have_room_for_retries_and_no_panic():
    made = built(mesh(echo()), CLUSTER, OLD)
    assert made["circuit_breakers"]["thresholds"][0]["max_retries"] == 1000
    assert made["common_lb_config"]["healthy_panic_threshold"] == {}
    assert made["ignore_health_on_host_removal"] is True


@pytest.mark.parametrize("kind", ["grpc", "http", "tcp"])
def test_clusters_ask_for_health_as_the_target_says(kind):
    of = mesh(service(target(OLD, 1, health=HealthCheck(kind)), weights={OLD: 100}))
    assert f"{kind}_health_check" in built(of, CLUSTER, OLD)["health_checks"][0]


def test_no_health_check_when_the_target_says_none():
    of = mesh(service(target(OLD, 1, health=HealthCheck("none")), weights={OLD: 100}))
    assert "health_checks" not in built(of, CLUSTER, OLD)


def test_a_draining_endpoint_says_so():
    draining = replace(target(OLD), endpoints=(Endpoint("127.0.0.1", 1, draining=True),))
    made = built(mesh(service(draining, weights={OLD: 100})), ENDPOINTS, OLD)
    assert made["endpoints"][0]["lb_endpoints"][0]["health_status"] == "DRAINING"


def test_public_routes_ask_the_longest_prefix_first_and_end_with_404():
    shop = service(target("shop"), weights={"shop": 100})
    shop = replace(shop, name="shop.local", public_prefix="/shop/", stable=None)
    deep = service(target("deep"), weights={"deep": 100})
    deep = replace(deep, name="deep.local", public_prefix="/shop/deep/", stable=None)
    routes = built(mesh(shop, deep, public=8080), ROUTES, "public")["virtual_hosts"][0]["routes"]
    assert [r["match"]["prefix"] for r in routes] == ["/shop/deep/", "/shop/", "/"]
    assert routes[-1]["direct_response"]["status"] == 404


def test_a_mesh_without_a_way_in_has_one_listener():
    assert set(snapshot(mesh(echo())).resources[LISTENER]) == {"egress"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"weights": {OLD: 60, NEW: 60}}, f"The weights of {NAME} sum to 120, not to 100."),
        ({"weights": {OLD: 99}}, f"The weights of {NAME} sum to 99, not to 100."),
        ({"weights": {OLD: 0, NEW: 0}}, f"The weights of {NAME} sum to 0, not to 100."),
        ({"weights": {OLD: 101, NEW: -1}}, "a weight is a whole percent from 0 to 100."),
        ({"weights": {OLD: 99.5, NEW: 0.5}}, "a weight is a whole percent from 0 to 100."),
        ({"weights": {OLD: True, NEW: 99}}, "a weight is a whole percent from 0 to 100."),
        ({"weights": {"other": 100}}, f"{NAME} has a weight for 'other'"),
        ({"stable": "other"}, f"{NAME} names 'other' as stable"),
        ({"public_prefix": "/shop"}, "a prefix starts and ends with a slash."),
    ],
)
def test_it_refuses_what_cannot_be_served(changes, sentence):
    with pytest.raises(InvalidMesh) as refused:
        snapshot(mesh(echo(**changes)))
    assert sentence in str(refused.value)


def test_it_refuses_two_services_with_one_name():
    with pytest.raises(InvalidMesh, match="used 2 times"):
        snapshot(mesh(echo(), echo(targets=(), weights={}, stable=None)))


def test_it_refuses_two_services_at_one_public_prefix():
    other = echo(name="other", targets=(), weights={}, stable=None, public_prefix="/")
    with pytest.raises(InvalidMesh, match="'/' is used 2 times"):
        snapshot(mesh(echo(public_prefix="/"), other, public=8080))
