"""One stack on the fake CloudFormation, as its tests hold it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

Client = Callable[[str], Any]

VERSION = "2012-10-17"
GROUP = {
    "Type": "AWS::EC2::SecurityGroup",
    "Properties": {
        "GroupDescription": "Tasks",
        "SecurityGroupEgress": [
            {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIp": "0.0.0.0/0"}
        ],
    },
}
LOGS = {
    "Type": "AWS::Logs::LogGroup",
    "DependsOn": "Group",
    "Properties": {"RetentionInDays": {"Ref": "Days"}},
}
ROLE = {
    "Type": "AWS::IAM::Role",
    "Properties": {
        "AssumeRolePolicyDocument": {
            "Version": VERSION,
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                }
            ],
        },
        "Policies": [
            {"PolicyName": "logs", "PolicyDocument": {"Version": VERSION, "Statement": [
                {"Effect": "Allow", "Action": "logs:*", "Resource": {"Fn::GetAtt": ["Logs", "Arn"]}}
            ]}}
        ],
    },
}  # fmt: skip
OUTPUTS = {
    "GroupId": {"Value": {"Ref": "Group"}, "Export": {"Name": "shared-group"}},
    "RoleArn": {"Value": {"Fn::GetAtt": ["Role", "Arn"]}, "Description": "the role"},
}
RESOURCES = {"Group": GROUP, "Logs": LOGS, "Role": ROLE}


def template(resources: dict[str, Any] = RESOURCES, outputs: dict[str, Any] = OUTPUTS) -> str:
    days = {"Type": "Number", "Default": 30}
    return json.dumps({"Parameters": {"Days": days}, "Resources": resources, "Outputs": outputs})


class Stack:
    """One stack, called "echo-infra", as a client works with it."""

    name = "echo-infra"

    def __init__(self, client: Client) -> None:
        self.client = client
        self.cfn = client("cloudformation")
        self.made = 0
        self.id = ""

    def propose(self, kind: str, body: str, days: int | None = None, **more: Any) -> dict[str, Any]:
        self.made += 1
        given = [{"ParameterKey": "Days", "ParameterValue": str(days)}] if days else []
        found = self.cfn.create_change_set(
            StackName=self.name, ChangeSetName=f"set-{self.made}", ChangeSetType=kind,
            TemplateBody=body, Parameters=given, Capabilities=["CAPABILITY_IAM"],
            Tags=[{"Key": "meshui:mesh", "Value": "echo"}], **more,
        )  # fmt: skip
        self.id = found["StackId"]
        described: dict[str, Any] = self.cfn.describe_change_set(ChangeSetName=found["Id"])
        return described

    def execute(self, change_set: dict[str, Any], token: str = "token") -> None:
        self.cfn.execute_change_set(
            ChangeSetName=change_set["ChangeSetId"], ClientRequestToken=token
        )

    def apply(self, kind: str, body: str, days: int | None = None, **more: Any) -> str:
        self.execute(self.propose(kind, body, days, **more))
        for event in self.events:  # shown when a test fails
            print(
                event["ResourceStatus"],
                event["LogicalResourceId"],
                event.get("ResourceStatusReason"),
            )
        return self.status

    @property
    def seen(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cfn.describe_stacks(StackName=self.id)["Stacks"][0]
        return found

    @property
    def status(self) -> str:
        return str(self.seen["StackStatus"])

    @property
    def outputs(self) -> dict[str, str]:
        return {one["OutputKey"]: one["OutputValue"] for one in self.seen.get("Outputs", [])}

    @property
    def events(self) -> list[dict[str, Any]]:
        """Oldest first."""
        pages = self.cfn.get_paginator("describe_stack_events").paginate(StackName=self.id)
        return [event for page in pages for event in page["StackEvents"]][::-1]

    def statuses(self, logical: str) -> list[str]:
        return [e["ResourceStatus"] for e in self.events if e["LogicalResourceId"] == logical]

    def wait(self, *wanted: str) -> str:
        until = time.monotonic() + 20
        while (status := self.status) not in wanted:
            assert time.monotonic() < until, f"still {status}"
            time.sleep(0.01)
        return status

    def rules(self) -> list[int]:
        """Ports that the security group lets out."""
        groups = self.client("ec2").describe_security_groups(GroupIds=[self.outputs["GroupId"]])
        return [
            rule.get("FromPort", -1) for rule in groups["SecurityGroups"][0]["IpPermissionsEgress"]
        ]


@pytest.fixture
def stack(client: Client) -> Stack:
    return Stack(client)


def changed(**properties: Any) -> dict[str, Any]:
    """The resources, with other properties of the group."""
    group = {**GROUP, "Properties": {**GROUP["Properties"], **properties}}  # type: ignore[dict-item]
    return {**RESOURCES, "Group": group}


def out(port: int) -> list[dict[str, Any]]:
    return [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "CidrIp": "0.0.0.0/0"}]


def refusal(call: Callable[..., Any], **asked: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**asked)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]
