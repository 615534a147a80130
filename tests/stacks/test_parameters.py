"""Where the value of each parameter comes from, and what is said when there is none."""

from __future__ import annotations

import pytest

from rollouts.errors import ProvisionerError
from rollouts.models import Mesh, Stack
from rollouts.stacks import parameters
from rollouts.stacks.cfn import ORDER, template_of
from tests.stacks.template import written

INFRA = {
    "VpcId": "vpc-1", "PublicSubnets": "subnet-1,subnet-2", "PrivateSubnets": "subnet-3,subnet-4",
    "Cluster": "shop", "Namespace": "shop.local", "NamespaceId": "ns-1", "LogGroup": "logs",
    "EchoServerRepository": "1.dkr.example.com/shop/echo_server",
}  # fmt: skip


@pytest.fixture
def stacks(db: None) -> dict[str, Stack]:
    mesh = Mesh.objects.create(slug="shop", name="shop", platform="ecs", router="envoy")
    return {
        name: Stack.objects.create(mesh=mesh, name=name, kind="cloudformation") for name in ORDER
    }


def fill(stack: Stack, **images: str) -> dict[str, str]:
    return parameters.fill(stack, template_of(stack.name), images)


@pytest.mark.parametrize("name", ORDER)
def test_the_parameters_of_a_template_are_all_found(name):
    assert parameters.declared(template_of(name)) == {
        parameter: "Default" in how for parameter, how in written(name)["Parameters"].items()
    }


def test_a_parameter_is_a_setting_in_snake_case():
    assert parameters.setting_of("LogRetentionDays") == "log_retention_days"


def test_a_first_stack_needs_nothing_but_its_name(stacks):
    assert fill(stacks["infra"]) == {"ProjectName": "shop", "Router": "envoy"}


def test_a_setting_fills_the_parameter_of_its_name(stacks):
    stacks["infra"].mesh.settings = {"nat": "none", "log_retention_days": 7, "bastion_cidr": ""}
    filled = fill(stacks["infra"])
    assert (filled["Nat"], filled["LogRetentionDays"]) == ("none", "7")
    assert "BastionCidr" not in filled


def test_an_output_of_an_earlier_stack_goes_before_a_setting(stacks):
    Stack.objects.filter(name="infra").update(outputs=INFRA)
    stacks["mesh"].mesh.settings = {"vpc_id": "vpc-other"}
    assert fill(stacks["mesh"])["VpcId"] == "vpc-1"


def test_an_output_of_a_later_stack_fills_nothing(stacks):
    Stack.objects.filter(name="app").update(outputs={"Nat": "none"})
    assert "Nat" not in fill(stacks["infra"])


def test_a_missing_stack_is_named(stacks):
    with pytest.raises(ProvisionerError, match="The stack infra is needed first: it tells VpcId"):
        fill(stacks["mesh"])


def test_a_missing_setting_is_named(stacks):
    Stack.objects.filter(name="infra").update(outputs=INFRA)
    groups = {"ClientSecurityGroup": "sg-1", "ServerSecurityGroup": "sg-2"}
    Stack.objects.filter(name="mesh").update(outputs=groups)
    with pytest.raises(ProvisionerError, match="no setting echo_client_image"):
        fill(stacks["app"])
    assert fill(stacks["app"], EchoClientImage="r@sha256:1")["EchoClientImage"] == "r@sha256:1"


def test_a_production_mesh_protects_its_load_balancer(stacks):
    Stack.objects.filter(name="infra").update(outputs=INFRA)
    groups = {"ClientSecurityGroup": "sg-1", "ServerSecurityGroup": "sg-2"}
    Stack.objects.filter(name="mesh").update(outputs=groups)
    assert "DeletionProtection" not in fill(stacks["app"], EchoClientImage="r@sha256:1")
    stacks["app"].mesh.production = True
    assert fill(stacks["app"], EchoClientImage="r@sha256:1")["DeletionProtection"] == "true"
