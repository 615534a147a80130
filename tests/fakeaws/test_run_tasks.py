"""``python -m tests.fakeaws --run-tasks``: a RUNNING task is a process that answers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import boto3
import grpc
import pytest
from botocore.config import Config

from protos import echo_pb2, echo_pb2_grpc
from tests.fakeaws.control import Fake
from tests.fakeaws.echo import Echo, until
from tests.ports import free_port


@pytest.fixture
def url() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakeaws", "--port", "0", "--run-tasks"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "MESHUI_FAKE_TASK_SECONDS": "0.05"},
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[-1]
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def echo(url: str) -> Echo:
    session = boto3.session.Session("fake", "fake", region_name="eu-central-1")
    config = Config(inject_host_prefix=False)
    made: dict[str, Any] = {}

    def client(service: Any) -> Any:
        made[service] = made.get(service) or session.client(
            service, endpoint_url=url, config=config
        )
        return made[service]

    return Echo(client).make()


def answers(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


def greeting(address: tuple[str, int]) -> str:
    with grpc.insecure_channel(f"{address[0]}:{address[1]}") as channel:
        stub = echo_pb2_grpc.EchoServiceStub(channel)
        return str(
            stub.Echo(echo_pb2.EchoRequest(name="a"), timeout=5, wait_for_ready=True).message
        )


def balanced(echo: Echo) -> tuple[tuple[str, int], str]:
    """A load balancer: where it listens, and the target group it sends everything to."""
    elb, ec2 = echo.client("elbv2"), echo.client("ec2")
    subnets = [each["SubnetId"] for each in ec2.describe_subnets()["Subnets"]][:2]
    made = elb.create_load_balancer(Name="echo", Subnets=subnets)["LoadBalancers"][0]
    group = elb.create_target_group(
        Name="echo-v1", Protocol="HTTP", Port=80, TargetType="ip",
        VpcId=ec2.describe_vpcs()["Vpcs"][0]["VpcId"],
    )["TargetGroups"][0]["TargetGroupArn"]  # fmt: skip
    elb.create_listener(
        LoadBalancerArn=made["LoadBalancerArn"], Protocol="HTTP", Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
    )  # fmt: skip
    host, port = made["DNSName"].split(":")
    return (host, int(port)), str(group)


def test_a_task_answers_until_its_set_is_deleted(echo: Echo, url: str):
    port = free_port()
    endpoint, group = balanced(echo)
    definition = echo.definition(
        "echo-1", echo.image("1.0"), portMappings=[{"containerPort": port}], healthCheck={
            "command": ["CMD-SHELL", "exit 0"], "interval": 5,
        },
        environment=[{"name": "PORT", "value": str(port)}, {"name": "VERSION", "value": "1.0"}],
    )  # fmt: skip
    made = echo.client("ecs").create_task_set(
        cluster="echo", service="echo_server", taskDefinition=definition, externalId="echo--1",
        launchType="FARGATE", networkConfiguration=echo.network,
        loadBalancers=[{"targetGroupArn": group, "containerName": "app", "containerPort": port}],
        scale={"unit": "PERCENT", "value": 50}, serviceRegistries=[{"registryArn": echo.registry}],
    )["taskSet"]  # fmt: skip
    (instance,) = until(lambda: echo.instances(HealthStatus="HEALTHY"), seconds=20)
    known = instance["Attributes"]
    address = known["AWS_INSTANCE_IPV4"], int(known["AWS_INSTANCE_PORT"])
    assert "1.0" in greeting(address)
    elb = echo.client("elbv2")
    until(lambda: "'healthy'" in str(elb.describe_target_health(TargetGroupArn=group)), seconds=20)
    assert "1.0" in greeting(endpoint)
    echo.client("ecs").delete_task_set(cluster="echo", service="echo_server", taskSet=made["id"])
    until(lambda: not answers(address), seconds=20)
    until(lambda: "task" not in Fake(url).leftovers(), seconds=20)
