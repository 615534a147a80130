"""The arithmetic of relative weights, and what a write keeps of what was there. Pure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rollouts.routers import alb, appmesh
from rollouts.routers.shares import goal, shares, told
from tests.aws.routers.lay import GRPC_ROUTE

weights = st.dictionaries(st.sampled_from("abcde"), st.integers(0, 100))


def test_one_and_one_is_half_and_half() -> None:
    assert shares({"a": 1, "b": 1}) == shares({"a": 50, "b": 50, "c": 0})
    assert shares({"a": 1, "b": 2}) != shares({"a": 33, "b": 67})


def test_relative_weights_are_told_as_percent() -> None:
    assert told({"a": 1, "b": 3, "c": 0}) == "25 % to a and 75 % to b"
    assert told({"a": 1, "b": 2}) == "33.33 % to a and 66.67 % to b"
    assert told({"a": 1}) == "100 % to a"
    assert told({"a": 0}) == told({}) == "nothing to anybody"


@given(weights, weights, st.sets(st.sampled_from("abcde")))
def test_a_goal_sends_what_is_wanted_and_names_what_may_stay(found, wanted, may_stay) -> None:
    made = goal(found, wanted, may_stay)
    assert shares(made) == (shares(wanted) or shares(found))
    assert may_stay <= set(made)
    assert {name for name, weight in wanted.items() if weight} <= set(made)
    assert goal(made, wanted, may_stay) == made, "writing twice changes nothing"


def test_match_retries_and_time_outs_of_a_route_are_kept() -> None:
    spec = {"priority": 3, "grpcRoute": GRPC_ROUTE}
    after = appmesh.spec_with(spec, {"a": 30, "b": 70})
    targets = [{"virtualNode": "a", "weight": 30}, {"virtualNode": "b", "weight": 70}]
    assert after == {
        "priority": 3,
        "grpcRoute": {**GRPC_ROUTE, "action": {"weightedTargets": targets}},
    }


def test_the_port_of_weighted_targets_is_kept() -> None:
    before = [{"virtualNode": "old", "weight": 1, "port": 50051}]
    spec = {"http2Route": {"match": {"prefix": "/"}, "action": {"weightedTargets": before}}}
    after = appmesh.spec_with(spec, {"a": 1})
    assert after["http2Route"]["action"]["weightedTargets"] == [
        {"virtualNode": "a", "weight": 1, "port": 50051}
    ]


def test_sign_in_and_stickiness_of_a_rule_are_kept() -> None:
    sign_in = {"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": {"Issuer": "x"}}
    sticky = {"Enabled": True, "DurationSeconds": 60}
    forward = {
        "Type": "forward",
        "Order": 2,
        "TargetGroupArn": "arn:old",
        "ForwardConfig": {
            "TargetGroups": [{"TargetGroupArn": "arn:old", "Weight": 1}],
            "TargetGroupStickinessConfig": sticky,
        },
    }
    groups = [{"TargetGroupArn": "arn:new", "Weight": 100}]
    assert alb.actions_with([sign_in, forward], {"arn:new": 100}) == [
        sign_in,
        {
            "Type": "forward",
            "Order": 2,
            "ForwardConfig": {"TargetGroups": groups, "TargetGroupStickinessConfig": sticky},
        },
    ]
