"""The fake says what is left, and each name of moto's that the extension replaces still exists."""

from __future__ import annotations

from typing import Any

import pytest
from moto.codebuild.responses import CodeBuildResponse
from moto.core.base_backend import BackendDict, BaseBackend
from moto.ec2.models import amis
from moto.ecr.models import ECRBackend, Image
from moto.ecr.responses import ECRResponse
from moto.ecs.models import EC2ContainerServiceBackend
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.elbv2.models import ELBv2Backend, FakeAction, FakeListener
from moto.logs.models import LogsBackend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler
from moto.secretsmanager.models import SecretsManagerBackend
from moto.servicediscovery.models import ServiceDiscoveryBackend
from moto.servicediscovery.responses import ServiceDiscoveryResponse

from tests.fakeaws import ecs
from tests.fakeaws.control import Fake
from tests.fakeaws.echo import Client, Echo

USED: dict[Any, str] = {
    EC2ContainerServiceBackend: " ".join(ecs.REPLACED) + " _get_cluster",
    EC2ContainerServiceResponse: " ".join(ecs.ANSWERS),
    ECRBackend: "create_repository put_image _get_repository batch_delete_image",
    Image: "_create_digest get_image_size_in_bytes",
    ECRResponse: "get_authorization_token",
    ServiceDiscoveryBackend: "register_instance deregister_instance discover_instances"
    " discover_instances_revision update_instance_custom_health_status delete_service"
    " delete_namespace create_service",
    ServiceDiscoveryResponse: "discover_instances",
    CodeBuildResponse: "start_build batch_get_builds stop_build",
    SecretsManagerBackend: "get_secret_value",
    LogsBackend: "ensure_log_group",
    ELBv2Backend: "register_targets deregister_targets",
    FakeListener: "rules",
    FakeAction: "__init__",
    BaseBackend: "reset",
    BackendDict: "reset iter_backends",
    DomainDispatcherApplication: "__call__",
    MotoRequestHandler: "make_environ",
}


@pytest.mark.parametrize("owner", USED, ids=lambda owner: owner.__name__)
def test_what_is_replaced_or_used_still_exists_in_moto(owner: Any):
    bases = [base for base in owner.__mro__ if base.__module__.startswith(("moto", "werkzeug"))]
    for name in USED[owner].split():
        assert any(name in vars(base) for base in bases), f"{owner.__name__}.{name} is gone"


def test_machine_images_are_still_loaded_by_the_name_that_is_replaced():
    assert callable(vars(amis)["load_resource"])


def test_an_empty_account_has_nothing_left(aws: Fake):
    assert aws.leftovers() == {}


def test_everything_that_was_made_is_left_until_it_is_deleted(aws: Fake, client: Client):
    echo = Echo(client).make()
    echo.start("echo_server--1")
    aws.settle()
    left = aws.leftovers()
    assert left["task-set"] == ["echo_server--1"]
    assert left["task-definition"] == ["echo-echo_server--1:1"]
    assert len(left["task"]) == len(left["discovery-instance"]) == 2
    assert set(left) == {
        "cluster", "service", "task-set", "task", "task-definition", "repository", "namespace",
        "discovery-service", "discovery-instance",
    }  # fmt: skip
    client("ecs").delete_service(cluster="echo", service="echo_server", force=True)
    client("ecs").deregister_task_definition(taskDefinition="echo-echo_server--1:1")
    aws.settle()
    assert set(aws.leftovers()) == {"cluster", "repository", "namespace", "discovery-service"}


def test_a_network_that_somebody_made_is_left(aws: Fake, client: Client):
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address)
    client("logs").create_log_group(logGroupName="shop")
    client("secretsmanager").create_secret(Name="shop", SecretString="a")
    assert set(aws.leftovers()) >= {
        "vpc",
        "subnet",
        "address",
        "nat-gateway",
        "log-group",
        "secret",
    }
