"""What tests of the fake put into it: a network, a registry, definitions, an EXTERNAL service."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Client = Callable[..., Any]
REPOSITORY = "echo/echo_server"


def until(seen: Callable[[], Any], *, seconds: float = 5.0) -> Any:
    """The first true answer of ``seen``. Fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (answer := seen()):
        assert time.monotonic() < deadline, f"never came true; last answer {answer!r}"
        time.sleep(0.01)
    return answer


@dataclass
class Echo:
    """A cluster "echo" with the EXTERNAL service "echo_server" and its registry."""

    client: Client
    subnet: str = ""
    group: str = ""
    registry: str = ""

    def make(self) -> Echo:
        ec2, cloudmap = self.client("ec2"), self.client("servicediscovery")
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        self.subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        self.group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
        self.client("ecr").create_repository(
            repositoryName=REPOSITORY, imageTagMutability="IMMUTABLE"
        )
        cloudmap.create_private_dns_namespace(Name="echo.local", Vpc=vpc)
        (namespace,) = cloudmap.list_namespaces()["Namespaces"]
        self.registry = cloudmap.create_service(
            Name="echo_server", NamespaceId=namespace["Id"],
            HealthCheckCustomConfig={"FailureThreshold": 1},
        )["Service"]["Arn"]  # fmt: skip
        self.client("ecs").create_cluster(clusterName="echo")
        self.service(2)
        return self

    @property
    def network(self) -> dict[str, Any]:
        where = {"subnets": [self.subnet], "securityGroups": [self.group]}
        return {"awsvpcConfiguration": where}

    def service(self, count: int, name: str = "echo_server") -> None:
        self.client("ecs").create_service(
            cluster="echo", serviceName=name, desiredCount=count,
            deploymentController={"type": "EXTERNAL"},
        )  # fmt: skip

    def image(self, tag: str) -> str:
        (found,) = self.client("ecr").describe_images(
            repositoryName=REPOSITORY, imageIds=[{"imageTag": tag}]
        )["imageDetails"]
        host = f"{found['registryId']}.dkr.ecr.eu-central-1.amazonaws.com"
        return f"{host}/{REPOSITORY}@{found['imageDigest']}"

    def definition(self, family: str, image: str, **container: Any) -> str:
        app = {
            "name": "app", "image": image,
            "portMappings": [{"containerPort": 50051}],
            "healthCheck": {"command": ["CMD", "true"]},
        }  # fmt: skip
        made = self.client("ecs").register_task_definition(
            family=family, requiresCompatibilities=["FARGATE"], networkMode="awsvpc", cpu="256",
            memory="512", containerDefinitions=[app | container],
        )  # fmt: skip
        return str(made["taskDefinition"]["taskDefinitionArn"])

    def start(self, target: str = "echo_server--1", tag: str = "1.0", **asked: Any) -> Any:
        """A task set of version ``tag``; its description."""
        definition = self.definition(f"echo-{target}", self.image(tag))
        asked.setdefault("scale", {"unit": "PERCENT", "value": 100})
        return self.client("ecs").create_task_set(
            cluster="echo", service="echo_server", taskDefinition=definition, externalId=target,
            launchType="FARGATE", networkConfiguration=self.network,
            serviceRegistries=[{"registryArn": self.registry}], **asked,
        )["taskSet"]  # fmt: skip

    def run(self, definition: str) -> None:
        """A task of nobody's."""
        self.client("ecs").run_task(
            cluster="echo", taskDefinition=definition, launchType="FARGATE",
            networkConfiguration=self.network,
        )  # fmt: skip

    def task_set(self, made: Any) -> Any:
        sets = self.client("ecs").describe_task_sets(
            cluster="echo", service="echo_server", taskSets=[made["id"]]
        )["taskSets"]
        return sets[0] if sets else None

    def steady(self, made: Any) -> Any:
        """The set once it is steady and runs as many as it wants."""
        return until(lambda: self._steady(made))

    def _steady(self, made: Any) -> Any:
        found = self.task_set(made)
        return found if found["stabilityStatus"] == "STEADY_STATE" else None

    def tasks(self, status: str = "RUNNING", **asked: Any) -> list[Any]:
        ecs = self.client("ecs")
        arns = ecs.list_tasks(cluster="echo", desiredStatus=status, **asked)["taskArns"]
        return list(ecs.describe_tasks(cluster="echo", tasks=arns)["tasks"]) if arns else []

    def described(self, name: str = "echo_server") -> Any:
        (found,) = self.client("ecs").describe_services(cluster="echo", services=[name])["services"]
        return found

    def instances(self, **asked: Any) -> list[Any]:
        asked.setdefault("HealthStatus", "ALL")
        return list(self.client("servicediscovery").discover_instances(
            NamespaceName="echo.local", ServiceName="echo_server", **asked
        )["Instances"])  # fmt: skip
