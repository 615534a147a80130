"""The fake's plumbing: what is recorded, and failures in the words of each protocol."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ReadTimeoutError,
)

from tests.fakeaws.control import Fake

Client = Callable[..., Any]

READS: dict[str, Callable[[Any], Any]] = {
    "ecs": lambda aws: aws.list_clusters(),
    "ecr": lambda aws: aws.describe_repositories(),
    "servicediscovery": lambda aws: aws.list_namespaces(),
    "appmesh": lambda aws: aws.list_meshes(),
    "elbv2": lambda aws: aws.describe_load_balancers(),
    "cloudformation": lambda aws: aws.describe_stacks(),
    "ec2": lambda aws: aws.describe_vpcs(),
    "sts": lambda aws: aws.get_caller_identity(),
    "logs": lambda aws: aws.describe_log_groups(),
}


def code_of(call: Callable[[Any], Any], client: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call(client)
    response: Any = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.parametrize("service", READS)
def test_it_records_service_operation_and_outcome(aws: Fake, client: Client, service: str):
    READS[service](client(service))
    (call,) = aws.calls()
    assert (call["service"], call["outcome"]) == (service, "ok")
    assert call["operation"].startswith(("List", "Describe", "Get"))
    assert time.time() - call["at"] < 10


@pytest.mark.parametrize("service", READS)
def test_it_throttles_in_the_words_of_the_service(aws: Fake, client: Client, service: str):
    words = {"appmesh": "TooManyRequestsException", "ec2": "RequestLimitExceeded"}
    old = {"elbv2": "Throttling", "cloudformation": "Throttling", "sts": "Throttling"}
    aws.inject(service, error="ThrottlingException")
    code, _ = code_of(READS[service], client(service))
    assert code == (words | old).get(service, "ThrottlingException")
    assert aws.calls()[0]["injected"] is True
    assert aws.calls()[0]["took_effect"] is False


@pytest.mark.parametrize("service", ["ecs", "appmesh", "elbv2"])
@pytest.mark.parametrize("error", ["AccessDeniedException", "ExpiredTokenException", "500"])
def test_it_refuses_in_the_words_of_the_service(
    aws: Fake, client: Client, service: str, error: str
):
    aws.inject(error=error, times=1)
    code, status = code_of(READS[service], client(service))
    if error == "500":
        assert (code, status) == ("InternalFailure", 500)
    else:
        assert code.split("Exception")[0] in ("AccessDenied", "Forbidden", "ExpiredToken")
    READS[service](client(service))


def test_a_time_out_before_leaves_nothing_behind(aws: Fake, client: Client):
    aws.inject("ecs", "CreateCluster", error="timeout-before", times=1)
    impatient = boto3.client(
        "ecs", config=Config(read_timeout=0.3, retries={"total_max_attempts": 1})
    )
    with pytest.raises(ReadTimeoutError):
        impatient.create_cluster(clusterName="a")
    assert client("ecs").list_clusters()["clusterArns"] == []


def test_a_time_out_after_has_taken_effect(aws: Fake, client: Client):
    aws.inject("ecs", "CreateCluster", error="timeout-after", times=1)
    impatient = boto3.client(
        "ecs", config=Config(read_timeout=0.3, retries={"total_max_attempts": 1})
    )
    with pytest.raises(ReadTimeoutError):
        impatient.create_cluster(clusterName="a")
    assert len(client("ecs").list_clusters()["clusterArns"]) == 1
    assert aws.calls()[0] | {"at": 0, "request": 0} == {
        "service": "ecs", "operation": "CreateCluster", "outcome": "timeout-after",
        "injected": True, "took_effect": True, "at": 0, "request": 0,
    }  # fmt: skip


@pytest.mark.parametrize(("error", "left"), [("reset-before", 0), ("reset-after", 1)])
def test_a_reset_closes_the_connection(aws: Fake, client: Client, error: str, left: int):
    aws.inject("ecs", "CreateCluster", error=error, times=1)
    with pytest.raises((ConnectionClosedError, ConnectionError)):
        client("ecs").create_cluster(clusterName="a")
    assert len(client("ecs").list_clusters()["clusterArns"]) == left


def test_a_rate_with_a_seed_fails_the_same_calls_every_time(aws: Fake, client: Client):
    def outcomes() -> list[str]:
        aws.clear()
        aws.calls_reset()
        aws.inject("ecs", error="ThrottlingException", rate=0.5, seed=7)
        for _ in range(12):
            try:
                client("ecs").list_clusters()
            except ClientError:
                continue
        return [call["outcome"] for call in aws.calls()]

    first = outcomes()
    assert 0 < first.count("ok") < 12
    assert outcomes() == first


def test_only_the_named_operation_fails(aws: Fake, client: Client):
    aws.inject("appmesh", "DescribeMesh", error="ThrottlingException")
    client("appmesh").list_meshes()
    code, _ = code_of(lambda mesh: mesh.describe_mesh(meshName="a"), client("appmesh"))
    assert code == "TooManyRequestsException"


def test_operations_are_named_by_a_pattern(aws: Fake, client: Client):
    aws.inject("ecs", "Create*", error="LimitExceededException")
    client("ecs").list_clusters()
    code, _ = code_of(lambda ecs: ecs.create_cluster(clusterName="a"), client("ecs"))
    assert code == "LimitExceededException"


def test_a_refused_call_has_no_effect_even_when_its_answer_is_lost(aws: Fake, client: Client):
    aws.inject("ecs", error="reset-after", times=1)
    with pytest.raises((ConnectionClosedError, ConnectionError)):
        client("ecs").delete_cluster(cluster="nothing")
    assert aws.calls()[0]["took_effect"] is False


def test_many_threads_lose_nothing(aws: Fake, client: Client):
    ecs = client("ecs")
    aws.inject("ecs", "CreateCluster", error="ThrottlingException", times=7)

    def make(number: int) -> bool:
        try:
            ecs.create_cluster(clusterName=f"c{number}")
        except ClientError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make, range(40)))
    assert made.count(False) == 7
    assert len(ecs.list_clusters()["clusterArns"]) == 33
    assert len(aws.calls()) == 41


def test_reset_forgets_everything(aws: Fake, client: Client):
    client("ecs").create_cluster(clusterName="a")
    aws.inject(error="500")
    aws.reset()
    assert client("ecs").list_clusters()["clusterArns"] == []
    assert len(aws.calls()) == 1


def test_it_runs_as_a_process_until_sigterm():
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakeaws", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("Fake AWS is ready at http://127.0.0.1:")
        fake = Fake(line.split()[-1])
        assert fake.speeds() == {"task": 1.0, "stack": 0.3}
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
