"""Task sets, services and tasks of the fake: what meshui's platform ``ecs`` relies on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.fakeaws.control import Fake
from tests.fakeaws.echo import Client, Echo, until

REASON = "ResourceInitializationError: unable to pull secrets or registry auth"


@pytest.fixture
def echo(client: Client) -> Echo:
    return Echo(client).make()


def refused(call: Callable[..., Any], **asked: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**asked)
    return str(caught.value.response["Error"]["Code"])


def test_a_task_set_starts_its_own_tasks(echo: Echo):
    made = echo.start()
    assert (made["computedDesiredCount"], made["pendingCount"]) == (2, 2)
    assert (made["status"], made["stabilityStatus"]) == ("ACTIVE", "STABILIZING")
    tasks = echo.tasks(startedBy=made["id"])
    assert len(tasks) == 2
    assert {task["group"] for task in tasks} == {"service:echo_server"}
    assert {task["startedBy"] for task in tasks} == {made["id"]}


def test_a_task_lives_through_every_stage(aws: Fake, echo: Echo):
    aws.speeds(task=60)
    made, stages = echo.start(scale={"unit": "PERCENT", "value": 50}), list[str]()

    def pass_through(status: str, times: int) -> None:
        for _ in range(times):
            stages.append(echo.tasks(status)[0]["lastStatus"])
            aws.pass_(60)

    pass_through("RUNNING", 4)
    echo.client("ecs").delete_task_set(cluster="echo", service="echo_server", taskSet=made["id"])
    pass_through("STOPPED", 4)
    assert stages == [
        "PROVISIONING", "PENDING", "ACTIVATING", "RUNNING",
        "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED",
    ]  # fmt: skip
    aws.pass_(3600)
    assert echo.tasks("STOPPED") == []


def test_looking_does_not_move_a_task(aws: Fake, echo: Echo):
    aws.speeds(task=60)
    echo.start()
    for _ in range(6):
        assert {task["lastStatus"] for task in echo.tasks()} == {"PROVISIONING"}


def test_settle_makes_every_task_healthy_now(aws: Fake, echo: Echo):
    aws.speeds(task=60)
    made = echo.start()
    aws.settle()
    assert echo.task_set(made)["stabilityStatus"] == "STEADY_STATE"
    assert {task["healthStatus"] for task in echo.tasks()} == {"HEALTHY"}
    assert {each["HealthStatus"] for each in echo.instances()} == {"HEALTHY"}


def test_each_task_has_an_address_of_its_own(aws: Fake, echo: Echo):
    echo.start()
    aws.settle()
    details = [
        {each["name"]: each["value"] for each in task["attachments"][0]["details"]}
        for task in echo.tasks()
    ]
    addresses = {each["privateIPv4Address"] for each in details}
    assert len(addresses) == 2
    assert all(address.startswith("127.77.") for address in addresses)
    assert {each["subnetId"] for each in details} == {echo.subnet}


def test_a_container_is_healthy_a_stage_after_it_runs(aws: Fake, echo: Echo):
    aws.speeds(task=60)
    made = echo.start()
    aws.pass_(180)
    assert echo.task_set(made)["runningCount"] == 2
    assert echo.task_set(made)["stabilityStatus"] == "STABILIZING"
    assert {task["healthStatus"] for task in echo.tasks()} == {"UNKNOWN"}
    aws.pass_(60)
    assert echo.task_set(made)["stabilityStatus"] == "STEADY_STATE"
    assert {task["healthStatus"] for task in echo.tasks()} == {"HEALTHY"}


def test_the_scale_rounds_up(aws: Fake, echo: Echo):
    echo.client("ecs").update_service(cluster="echo", service="echo_server", desiredCount=5)
    made = echo.start(scale={"unit": "PERCENT", "value": 50})
    aws.settle()
    assert echo.task_set(made)["computedDesiredCount"] == 3
    echo.client("ecs").update_task_set(
        cluster="echo", service="echo_server", taskSet=made["taskSetArn"],
        scale={"unit": "PERCENT", "value": 1},
    )  # fmt: skip
    assert len(echo.tasks()) == 1
    aws.settle()
    assert echo.task_set(made)["runningCount"] == 1


def test_a_task_set_needs_an_external_service(aws: Fake, echo: Echo):
    ecs, definition = echo.client("ecs"), echo.definition("plain", "busybox:1")
    ecs.create_service(
        cluster="echo", serviceName="plain", desiredCount=1, taskDefinition=definition,
        launchType="FARGATE", networkConfiguration=echo.network,
    )  # fmt: skip
    asked = {"cluster": "echo", "service": "plain", "taskDefinition": definition}
    assert refused(ecs.create_task_set, **asked) == "InvalidParameterException"


def test_the_primary_set_is_deleted_only_at_zero_or_by_force(aws: Fake, echo: Echo):
    ecs, made = echo.client("ecs"), echo.start()
    which = {"cluster": "echo", "service": "echo_server", "taskSet": made["id"]}
    aws.settle()
    ecs.update_service_primary_task_set(
        cluster="echo", service="echo_server", primaryTaskSet=made["id"]
    )
    assert echo.described()["taskDefinition"] == made["taskDefinition"]
    assert refused(ecs.delete_task_set, **which) == "InvalidParameterException"
    ecs.update_task_set(**which, scale={"unit": "PERCENT", "value": 0})
    assert ecs.delete_task_set(**which)["taskSet"]["status"] == "DRAINING"
    aws.settle()
    assert echo.described()["taskSets"] == []
    assert refused(ecs.delete_task_set, **which) == "TaskSetNotFoundException"


def test_promoting_demotes_the_other(aws: Fake, echo: Echo):
    ecs, old, new = echo.client("ecs"), echo.start(tag="0.9"), echo.start("echo_server--2")
    for each in (old, new):
        ecs.update_service_primary_task_set(
            cluster="echo", service="echo_server", primaryTaskSet=each["id"]
        )
    assert [each["status"] for each in echo.described()["taskSets"]] == ["ACTIVE", "PRIMARY"]
    aws.settle()
    assert echo.described()["runningCount"] == 4


def test_the_same_client_token_makes_one_set(echo: Echo):
    ecs = echo.client("ecs")
    asked: dict[str, Any] = {
        "cluster": "echo", "service": "echo_server", "clientToken": "a", "launchType": "FARGATE",
        "taskDefinition": echo.definition("echo", "busybox:1"),
        "networkConfiguration": echo.network,
    }  # fmt: skip
    first, second = (ecs.create_task_set(**asked)["taskSet"] for _ in range(2))
    assert first["id"] == second["id"]
    changed = asked | {"externalId": "other"}
    assert refused(ecs.create_task_set, **changed) == "InvalidParameterException"


def test_an_external_service_changes_only_its_count(echo: Echo):
    definition = echo.definition("echo", "busybox:1")
    code = refused(
        echo.client("ecs").update_service,
        cluster="echo", service="echo_server", taskDefinition=definition,
    )  # fmt: skip
    assert code == "InvalidParameterException"


def test_unknown_tasks_and_sets_are_failures(echo: Echo):
    ecs = echo.client("ecs")
    found = ecs.describe_tasks(cluster="echo", tasks=["abc"])
    assert found["failures"] == [{"arn": "abc", "reason": "MISSING"}]
    found = ecs.describe_task_sets(cluster="echo", service="echo_server", taskSets=["ecs-svc/1"])
    assert found["failures"] == [{"arn": "ecs-svc/1", "reason": "MISSING"}]


def test_tasks_are_listed_by_every_filter(aws: Fake, echo: Echo):
    made = echo.start("echo_server--7")
    echo.service(1, "other")
    aws.settle()
    assert len(echo.tasks(serviceName="echo_server")) == 2
    assert echo.tasks(serviceName="other") == []
    assert len(echo.tasks(family="echo-echo_server--7")) == 2
    assert echo.tasks(family="echo") == []
    assert echo.tasks(startedBy="somebody") == []
    assert echo.tasks("STOPPED", startedBy=made["id"]) == []
    page = echo.client("ecs").list_tasks(cluster="echo", maxResults=1)
    assert len(page["taskArns"]) == 1
    assert page["nextToken"]


@pytest.mark.parametrize("how", ["family", "image", "broken tag", "no such digest"])
def test_a_task_that_cannot_start_says_why_and_is_replaced_for_ever(
    aws: Fake, echo: Echo, how: str
):
    tag = "1.1-broken" if how == "broken tag" else "1.0"
    if how == "family":
        aws.fail_family("echo-echo_server--1", REASON)
    elif how == "image":
        aws.fail_image("echo_server@sha256", REASON)
    elif how == "no such digest":
        echo.client("ecr").batch_delete_image(
            repositoryName="echo/echo_server", imageIds=[{"imageTag": "1.0"}]
        )
        echo.image = lambda tag: (  # type: ignore[method-assign]
            f"123456789012.dkr.ecr.eu-central-1.amazonaws.com/echo/echo_server@sha256:{'0' * 64}"
        )
    made = echo.start(tag=tag)
    stopped = until(lambda: len(found := echo.tasks("STOPPED")) > 4 and found)
    assert {task["stopCode"] for task in stopped} == {"TaskFailedToStart"}
    reason = stopped[0]["stoppedReason"]
    assert reason == REASON or reason.startswith("CannotPullContainerError")
    assert stopped[0]["containers"][0]["reason"] == reason
    assert "exitCode" not in stopped[0]["containers"][0]
    assert echo.task_set(made)["runningCount"] == 0
    assert echo.task_set(made)["stabilityStatus"] == "STABILIZING"
    until(lambda: "unable to consistently start" in str(echo.described()["events"]))


@pytest.mark.parametrize("code", [1, 137])
def test_a_task_that_crashes_says_its_exit_code(aws: Fake, echo: Echo, code: int):
    aws.crash_family("echo-echo_server--1", code)
    echo.start()
    task = until(lambda: echo.tasks("STOPPED"))[0]
    assert task["stopCode"] == "EssentialContainerExited"
    assert task["containers"][0]["exitCode"] == code
    assert ("OutOfMemory" in task["containers"][0].get("reason", "")) == (code == 137)
    aws.clear()
    until(lambda: echo.described()["runningCount"] == 2)


def test_a_task_that_never_becomes_healthy_is_replaced(aws: Fake, echo: Echo):
    aws.unhealthy_family("echo-echo_server--1")
    made = echo.start()
    task = until(lambda: echo.tasks("STOPPED"))[0]
    assert task["stoppedReason"] == "Task failed container health checks"
    assert echo.task_set(made)["stabilityStatus"] == "STABILIZING"
    assert echo.instances(HealthStatus="HEALTHY") == []


def logged(**more: str) -> dict[str, Any]:
    options = {"awslogs-group": "echo", "awslogs-region": "eu-central-1",
               "awslogs-stream-prefix": "echo_server--1"}  # fmt: skip
    return {"logDriver": "awslogs", "options": options | more}


def test_what_a_container_writes_is_in_the_log_group(aws: Fake, echo: Echo):
    logs = echo.client("logs")
    logs.create_log_group(logGroupName="echo")
    definition = echo.definition("echo", "busybox:1", logConfiguration=logged())
    echo.run(definition)
    aws.settle()
    task = echo.tasks()[0]["taskArn"].split("/")[-1]
    events = logs.get_log_events(
        logGroupName="echo", logStreamName=f"echo_server--1/app/{task}", startFromHead=True
    )["events"]
    assert [event["message"] for event in events] == ["app of echo is listening"]


def test_a_task_without_its_log_group_does_not_start(aws: Fake, echo: Echo):
    echo.run(echo.definition("echo", "busybox:1", logConfiguration=logged()))
    aws.settle()
    assert "failed to validate logger args" in echo.tasks("STOPPED")[0]["stoppedReason"]


def test_targets_come_and_go_with_their_tasks(aws: Fake, echo: Echo):
    elb, ec2 = echo.client("elbv2"), echo.client("ec2")
    subnets = [each["SubnetId"] for each in ec2.describe_subnets()["Subnets"]][:2]
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    balancer = elb.create_load_balancer(Name="echo", Subnets=subnets)["LoadBalancers"][0]
    group = elb.create_target_group(
        Name="echo-v1", Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip"
    )["TargetGroups"][0]["TargetGroupArn"]
    elb.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"], Protocol="HTTP", Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
    )  # fmt: skip
    made = echo.start(
        loadBalancers=[{"targetGroupArn": group, "containerName": "app", "containerPort": 50051}]
    )
    aws.settle()

    def states() -> list[str]:
        found = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        assert {each["Target"]["Port"] for each in found} <= {50051}
        return [each["TargetHealth"]["State"] for each in found]

    until(lambda: states() == ["healthy", "healthy"])
    echo.client("ecs").delete_task_set(cluster="echo", service="echo_server", taskSet=made["id"])
    assert "healthy" not in states()


def test_a_stopped_task_is_replaced_and_can_still_be_described(aws: Fake, echo: Echo):
    echo.start()
    aws.settle()
    victim = echo.tasks()[0]["taskArn"]
    echo.client("ecs").stop_task(cluster="echo", task=victim, reason="for a test")
    aws.settle()
    assert len(echo.tasks()) == 2
    (stopped,) = echo.tasks("STOPPED")
    assert (stopped["taskArn"], stopped["stopCode"]) == (victim, "UserInitiated")
    assert stopped["stoppedReason"] == "for a test"
    assert stopped["containers"][0]["exitCode"] == 0


def test_an_ordinary_service_starts_rolls_and_ends(aws: Fake, echo: Echo):
    ecs = echo.client("ecs")
    old, new = (echo.definition("client", f"busybox:{tag}") for tag in (1, 2))
    made = ecs.create_service(
        cluster="echo", serviceName="client", desiredCount=2, taskDefinition=old,
        launchType="FARGATE", networkConfiguration=echo.network,
    )["service"]  # fmt: skip
    first = made["deployments"][0]["id"]
    assert len(echo.tasks(startedBy=first)) == 2
    aws.settle()
    assert echo.described("client")["deployments"][0]["rolloutState"] == "COMPLETED"
    ecs.update_service(cluster="echo", service="client", taskDefinition=new, desiredCount=1)
    assert len(echo.described("client")["deployments"]) == 2
    aws.settle()
    (deployment,) = echo.described("client")["deployments"]
    assert (deployment["taskDefinition"], deployment["runningCount"]) == (new, 1)
    ecs.delete_service(cluster="echo", service="client", force=True)
    assert echo.described("client")["status"] == "DRAINING"
    aws.settle()
    assert echo.described("client")["status"] == "INACTIVE"
    assert echo.tasks() == []


def test_a_service_above_zero_is_deleted_only_by_force(aws: Fake, echo: Echo):
    ecs = echo.client("ecs")
    echo.start()
    which = {"cluster": "echo", "service": "echo_server"}
    assert refused(ecs.delete_service, **which) == "InvalidParameterException"
    assert refused(ecs.delete_cluster, cluster="echo") == "ClusterContainsServicesException"
    ecs.delete_service(**which, force=True)
    aws.settle()
    ecs.delete_cluster(cluster="echo")
    assert ecs.list_clusters()["clusterArns"] == []


def test_a_target_group_needs_a_rule_before_a_task_set(echo: Echo):
    elb = echo.client("elbv2")
    vpc = echo.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    group = elb.create_target_group(
        Name="echo-v1", Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip"
    )["TargetGroups"][0]["TargetGroupArn"]
    asked = [{"targetGroupArn": group, "containerName": "app", "containerPort": 50051}]
    with pytest.raises(ClientError, match="does not have an associated load balancer"):
        echo.start(loadBalancers=asked)


def test_a_definition_is_deleted_only_when_inactive(echo: Echo):
    ecs, arn = echo.client("ecs"), echo.definition("echo", "busybox:1")
    assert len(ecs.delete_task_definitions(taskDefinitions=[arn])["failures"]) == 1
    ecs.deregister_task_definition(taskDefinition=arn)
    deleted = ecs.delete_task_definitions(taskDefinitions=[arn])["taskDefinitions"]
    assert deleted[0]["status"] == "DELETE_IN_PROGRESS"
    assert echo.definition("echo", "busybox:1").endswith(":2")
    assert ecs.describe_task_definition(taskDefinition="echo")["taskDefinition"]["revision"] == 2


def test_fargate_needs_cpu_and_memory_of_the_task(echo: Echo):
    code = refused(
        echo.client("ecs").register_task_definition,
        family="a", requiresCompatibilities=["FARGATE"],
        containerDefinitions=[{"name": "app", "image": "a", "memory": 128}],
    )  # fmt: skip
    assert code == "ClientException"


def test_a_service_tells_what_happened(aws: Fake, echo: Echo):
    made = echo.start()
    aws.settle()
    messages = [event["message"] for event in echo.described()["events"]]
    assert messages[0] == (
        f"(service echo_server, taskSet {made['id']}) has reached a steady state."
    )
    assert "has started 2 tasks" in messages[-1]
