"""Cloud Map of the fake: instances follow tasks, and the revision every change."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.fakeaws.control import Fake
from tests.fakeaws.echo import Client, Echo


@pytest.fixture
def echo(client: Client) -> Echo:
    return Echo(client).make()


def revision(echo: Echo) -> int:
    return int(
        echo.client("servicediscovery").discover_instances_revision(
            NamespaceName="echo.local", ServiceName="echo_server"
        )["InstancesRevision"]
    )


def test_instances_are_unhealthy_for_a_stage_then_healthy(aws: Fake, echo: Echo):
    aws.speeds(task=60)
    echo.start()
    assert echo.instances() == []
    aws.pass_(180)
    assert len(echo.instances(HealthStatus="UNHEALTHY")) == 2
    assert echo.instances(HealthStatus="HEALTHY") == []
    aws.pass_(60)
    assert len(echo.instances(HealthStatus="HEALTHY")) == 2


def test_an_instance_says_whose_it_is(aws: Fake, echo: Echo):
    echo.start("echo_server--4")
    aws.settle()
    first = echo.instances()[0]["Attributes"]
    assert first["ECS_TASK_SET_EXTERNAL_ID"] == "echo_server--4"
    assert (first["ECS_SERVICE_NAME"], first["ECS_CLUSTER_NAME"]) == ("echo_server", "echo")
    assert first["AWS_INSTANCE_IPV4"].startswith("127.77.")
    assert first["AWS_INSTANCE_PORT"] == "50051"


def test_instances_are_found_by_their_task_set(aws: Fake, echo: Echo):
    echo.start("echo_server--1")
    echo.start("echo_server--2", tag="0.9", scale={"unit": "PERCENT", "value": 50})
    aws.settle()

    def of(target: str) -> int:
        return len(echo.instances(QueryParameters={"ECS_TASK_SET_EXTERNAL_ID": target}))

    assert (of("echo_server--1"), of("echo_server--2"), of("echo_server--3")) == (2, 1, 0)


def test_the_revision_grows_with_every_change_and_only_then(aws: Fake, echo: Echo):
    before = revision(echo)
    made: Any = echo.start()
    aws.settle()
    healthy = revision(echo)
    assert healthy == revision(echo) > before
    echo.client("ecs").delete_task_set(
        cluster="echo", service="echo_server", taskSet=made["id"], force=True
    )
    assert echo.instances() == []
    assert revision(echo) > healthy


def test_a_service_with_instances_is_not_deleted(aws: Fake, echo: Echo):
    cloudmap = echo.client("servicediscovery")
    (service,) = cloudmap.list_services()["Services"]
    (namespace,) = cloudmap.list_namespaces()["Namespaces"]
    echo.start()
    aws.settle()
    with pytest.raises(ClientError, match="ResourceInUse"):
        cloudmap.delete_service(Id=service["Id"])
    with pytest.raises(ClientError, match="ResourceInUse"):
        cloudmap.delete_namespace(Id=namespace["Id"])
    echo.client("ecs").delete_service(cluster="echo", service="echo_server", force=True)
    aws.settle()
    cloudmap.delete_service(Id=service["Id"])
    cloudmap.delete_namespace(Id=namespace["Id"])
