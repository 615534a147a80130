"""The product's own templates, deployed to the fake and removed again, for every router."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakeaws.cloudformation_registry import KINDS
from tests.fakeaws.cloudformation_schema import known
from tests.fakeaws.cloudformation_template import parse
from tests.fakeaws.control import Fake

Client = Callable[[str], Any]
TEMPLATES = Path(__file__).parents[2] / "templates" / "cloudformation"
NAMES = ("infra", "mesh", "app")
SETTINGS = {
    "ProjectName": "echo",
    "ControlPlane": "127.0.0.1:18443",
    "CertificateArn": "arn:aws:acm:eu-central-1:123456789012:certificate/fake",
    "IngressCidr": "203.0.113.0/24",
}


def image(client: Client, repository_uri: str) -> str:
    """Some image of a repository, by digest."""
    name = repository_uri.split("/", 1)[1]
    images = client("ecr").describe_images(repositoryName=name)["imageDetails"]
    return f"{repository_uri}@{images[0]['imageDigest']}"


class Mesh:
    """The three stacks of one mesh."""

    def __init__(self, client: Client, router: str, **settings: str) -> None:
        self.client = client
        self.cfn = client("cloudformation")
        self.values = {**SETTINGS, "Router": router, **settings}
        self.outputs: dict[str, dict[str, str]] = {}

    def make(self, name: str) -> str:
        body = (TEMPLATES / f"{name}.yaml").read_text()
        slots = parse(body)["Parameters"]
        for slot, repository in (("EchoClientImage", "EchoClientRepository"),
                                 ("EnvoyImage", "EnvoyRepository")):  # fmt: skip
            if slot in slots:
                self.values[slot] = image(self.client, self.values[repository])
        given = [
            {"ParameterKey": key, "ParameterValue": value}
            for key, value in self.values.items()
            if key in slots
        ]
        self.cfn.create_stack(
            StackName=f"echo-{name}", TemplateBody=body, Parameters=given,
            Capabilities=["CAPABILITY_NAMED_IAM"], Tags=[{"Key": "meshui:mesh", "Value": "echo"}],
        )  # fmt: skip
        seen = self.wait(f"echo-{name}", "CREATE_IN_PROGRESS")
        found = {one["OutputKey"]: one["OutputValue"] for one in seen.get("Outputs", [])}
        self.outputs[name] = found
        self.values |= found
        return self.told(f"echo-{name}", seen)

    def remove(self, name: str) -> str:
        stack = self.cfn.describe_stacks(StackName=f"echo-{name}")["Stacks"][0]["StackId"]
        self.cfn.delete_stack(StackName=stack)
        return self.told(stack, self.wait(stack, "DELETE_IN_PROGRESS"))

    def wait(self, stack: str, going_on: str) -> dict[str, Any]:
        """The stack when it is no longer busy. Tasks take their time to stop."""
        until = time.monotonic() + 20
        while True:
            seen: dict[str, Any] = self.cfn.describe_stacks(StackName=stack)["Stacks"][0]
            if seen["StackStatus"] != going_on or time.monotonic() > until:
                return seen
            time.sleep(0.02)

    def told(self, stack: str, seen: dict[str, Any]) -> str:
        """The stack's status, with the reasons when something failed."""
        events = self.cfn.describe_stack_events(StackName=stack)["StackEvents"]
        failed = [
            f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}"
            for event in events
            if "FAILED" in event["ResourceStatus"]
        ]
        return "; ".join([seen["StackStatus"], *failed])


@pytest.mark.parametrize(
    ("router", "settings"),
    [
        ("envoy", {"Nat": "per-az"}),
        ("appmesh", {"Nat": "none", "Bastion": "ssm"}),
        ("alb", {"Nat": "one"}),
    ],
)
def test_the_three_stacks_come_and_go(
    aws: Fake, client: Client, router: str, settings: dict[str, str]
):
    mesh = Mesh(client, router, **settings)
    assert [mesh.make(name) for name in NAMES] == ["CREATE_COMPLETE"] * 3
    assert all(value for outputs in mesh.outputs.values() for value in outputs.values())
    for name in NAMES:
        found = mesh.cfn.detect_stack_drift(StackName=f"echo-{name}")["StackDriftDetectionId"]
        seen = mesh.cfn.describe_stack_drift_detection_status(StackDriftDetectionId=found)
        assert seen["StackDriftStatus"] == "IN_SYNC"
    assert [mesh.remove(name) for name in reversed(NAMES)] == ["DELETE_COMPLETE"] * 3
    assert list(aws.leftovers()) == ["log-group"]


def test_the_network_is_refused_to_go_while_something_is_in_it(aws: Fake, client: Client):
    mesh = Mesh(client, "envoy")
    mesh.make("infra")
    subnet = mesh.values["PrivateSubnets"].split(",")[0]
    client("ec2").create_network_interface(SubnetId=subnet)
    told = mesh.remove("infra")
    assert told.startswith("DELETE_FAILED")
    assert "has dependencies" in told


def test_every_kind_that_templates_use_can_be_made():
    used = {
        resource["Type"]
        for path in TEMPLATES.glob("*.yaml")
        for resource in parse(path.read_text())["Resources"].values()
    }
    assert used - set(KINDS) == set()


def test_the_fake_makes_only_kinds_that_aws_has():
    assert [kind for kind in KINDS if not known(kind)] == []
