"""What a change set becomes for the person who confirms it, and about what it costs."""

from __future__ import annotations

from typing import Any

import pytest

from rollouts.stacks import changes, cost
from tests.stacks.template import Template


def change(action: str, resource: str, **more: Any) -> dict[str, Any]:
    told = {"Action": action, "LogicalResourceId": resource, "ResourceType": "AWS::X::Y", **more}
    return {"Type": "Resource", "ResourceChange": told}


def test_what_may_hurt_is_said_first():
    found = changes.described(
        [
            change("Add", "New"),
            change("Modify", "Kept", Replacement="False"),
            change("Modify", "Swapped", Replacement="True"),
            change("Remove", "Old"),
        ]
    )
    assert [(each["action"], each["resource"]) for each in found] == [
        ("delete", "Old"),
        ("replace", "Swapped"),
        ("change", "Kept"),
        ("create", "New"),
    ]


def test_a_conditional_replacement_is_a_perhaps():
    details = [{"Target": {"Attribute": "Properties", "Name": "Cpu"}}]
    (found,) = changes.described(
        [change("Modify", "Tasks", Replacement="Conditional", Details=details)]
    )
    assert (found["action"], found["replacement"]) == ("change", "perhaps")
    assert found["about"] == "Cpu; may be replaced"


def test_a_change_that_is_no_resource_is_left_out():
    assert changes.described([{"Type": "Hook"}]) == []


def test_an_update_costs_what_will_be_there():
    existing = [
        {"LogicalResourceId": "NatA", "ResourceType": "AWS::EC2::NatGateway"},
        {"LogicalResourceId": "Vpc", "ResourceType": "AWS::EC2::VPC"},
    ]
    listed = changes.described([change("Remove", "NatA"), change("Add", "New")])
    assert changes.kinds_after(existing, listed) == {"Vpc": "AWS::EC2::VPC", "New": "AWS::X::Y"}


def kinds(name: str, **parameters: str) -> dict[str, str]:
    resources = Template(name, **parameters).resources
    return {logical: each["Type"] for logical, each in resources.items()}


@pytest.mark.parametrize(
    ("nat", "counted"),
    [
        ("none", {"endpoint in one zone": 8}),
        ("one", {"NAT gateway": 1, "public IPv4 address": 1}),
        ("per-az", {"NAT gateway": 2, "public IPv4 address": 2}),
    ],
)
def test_the_network_costs_what_its_way_out_costs(nat, counted):
    costs = cost.monthly(kinds("infra", Nat=nat), router="envoy")
    zone = {"name space (a private DNS zone)": 1}
    assert {each.what: each.count for each in costs} == counted | zone


def test_one_nat_gateway_is_about_33_dollars_a_month():
    (nat, *_) = cost.monthly(kinds("infra", Nat="one"), router="envoy")
    assert nat.monthly == pytest.approx(32.85)


def test_the_app_costs_a_load_balancer_with_two_addresses_and_its_tasks():
    costs = {each.what: each for each in cost.monthly(kinds("app"), router="envoy")}
    assert costs["load balancer"].count == 1
    assert costs["public IPv4 address"].count == 2
    assert costs["task of echo_client"].monthly == pytest.approx(36.04, abs=0.05)
    assert costs["task of echo_server, for each version that runs"].count == 2


def test_the_internal_load_balancer_has_no_public_address():
    costs = cost.monthly(kinds("mesh", Router="alb"), router="alb")
    assert [each.what for each in costs] == ["load balancer"]


def test_the_total_is_the_sum():
    costs = cost.monthly(kinds("app"), router="envoy")
    assert cost.total(costs) == pytest.approx(sum(each.monthly for each in costs))
