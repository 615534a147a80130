"""The fake load balancers, seen by a client: what they refuse, and how targets become healthy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.fakeaws import elbv2
from tests.fakeaws.control import Fake

Client = Callable[[str], Any]
CERTIFICATE = "arn:aws:acm:eu-central-1:123456789012:certificate/fake"
NO_SUCH = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}


class Balancer:
    """A load balancer with an HTTPS and an HTTP listener in a network of its own."""

    def __init__(self, client: Client) -> None:
        ec2, self.elb = client("ec2"), client("elbv2")
        self.vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [
            ec2.create_subnet(
                VpcId=self.vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"eu-central-1{zone}"
            )["Subnet"]["SubnetId"]
            for n, zone in enumerate("ab")
        ]
        self.arn = self.balancer("internal")["LoadBalancerArn"]
        self.https = self.listener(self.arn, "HTTPS", 443)
        self.rule = ""

    def balancer(self, name: str) -> dict[str, Any]:
        made = self.elb.create_load_balancer(Name=name, Subnets=self.subnets, Scheme="internal")
        found: dict[str, Any] = made["LoadBalancers"][0]
        return found

    def listener(self, arn: str, protocol: str, port: int) -> str:
        more = {"Certificates": [{"CertificateArn": CERTIFICATE}]} if protocol == "HTTPS" else {}
        made = self.elb.create_listener(
            LoadBalancerArn=arn, Protocol=protocol, Port=port, DefaultActions=[NO_SUCH], **more
        )
        return str(made["Listeners"][0]["ListenerArn"])

    def group(self, name: str) -> str:
        made = self.elb.create_target_group(
            Name=name, VpcId=self.vpc, TargetType="ip", Protocol="HTTP", ProtocolVersion="GRPC",
            Port=50051, Matcher={"GrpcCode": "0"},
        )  # fmt: skip
        return str(made["TargetGroups"][0]["TargetGroupArn"])

    def add_rule(self, listener: str, **weights: int) -> str:
        made = self.elb.create_rule(
            ListenerArn=listener, Priority=10, Actions=self.actions(weights),
            Conditions=[{"Field": "path-pattern", "Values": ["/*"]}],
        )  # fmt: skip
        return str(made["Rules"][0]["RuleArn"])

    def actions(self, weights: dict[str, int]) -> list[dict[str, Any]]:
        arns = {
            one["TargetGroupName"]: one["TargetGroupArn"]
            for one in self.elb.describe_target_groups()["TargetGroups"]
        }
        groups = [{"TargetGroupArn": arns[n], "Weight": w} for n, w in weights.items()]
        return [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]

    def health(self, group: str) -> list[tuple[str, str | None]]:
        found = self.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        return [(one["TargetHealth"]["State"], one["TargetHealth"].get("Reason")) for one in found]

    def wait(self, group: str, *wanted: str) -> None:
        until = time.monotonic() + 5
        while tuple(state for state, _reason in self.health(group)) != wanted:
            assert time.monotonic() < until, self.health(group)
            time.sleep(0.01)


@pytest.fixture
def balancer(aws: Fake, client: Client) -> Balancer:
    return Balancer(client)


def refusal(call: Callable[..., Any], **asked: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**asked)
    return str(caught.value.response["Error"]["Code"])


def test_weights_go_from_0_to_999(balancer: Balancer):
    balancer.group("a")
    balancer.group("b")
    rule = balancer.add_rule(balancer.https, a=999, b=0)
    actions = balancer.actions({"a": 1000, "b": 0})
    assert refusal(balancer.elb.modify_rule, RuleArn=rule, Actions=actions) == "ValidationError"
    (seen,) = balancer.elb.describe_rules(RuleArns=[rule])["Rules"]
    groups = seen["Actions"][0]["ForwardConfig"]["TargetGroups"]
    assert [group["Weight"] for group in groups] == [999, 0]


def test_an_action_takes_five_groups(balancer: Balancer):
    names = [f"g{n}" for n in range(6)]
    for name in names:
        balancer.group(name)
    rule = balancer.add_rule(balancer.https, **dict.fromkeys(names[:5], 1))
    actions = balancer.actions(dict.fromkeys(names, 1))
    refused = refusal(balancer.elb.modify_rule, RuleArn=rule, Actions=actions)
    assert refused == "TooManyUniqueTargetGroupsPerLoadBalancer"


def test_grpc_needs_https(balancer: Balancer):
    balancer.group("a")
    http = balancer.listener(balancer.arn, "HTTP", 80)
    assert refusal(balancer.add_rule, listener=http, a=1) == "InvalidConfigurationRequest"


def test_a_group_in_a_rule_cannot_be_deleted(balancer: Balancer):
    group = balancer.group("a")
    rule = balancer.add_rule(balancer.https, a=0)
    assert refusal(balancer.elb.delete_target_group, TargetGroupArn=group) == "ResourceInUse"
    balancer.elb.delete_rule(RuleArn=rule)
    balancer.elb.delete_target_group(TargetGroupArn=group)


def test_a_group_belongs_to_one_load_balancer(balancer: Balancer):
    balancer.group("a")
    balancer.add_rule(balancer.https, a=1)
    other = balancer.balancer("other")["LoadBalancerArn"]
    listener = balancer.listener(other, "HTTPS", 443)
    assert refusal(balancer.add_rule, listener=listener, a=1) == "TargetGroupAssociationLimit"


def test_a_protected_load_balancer_stays(balancer: Balancer):
    key = "deletion_protection.enabled"
    set_to = balancer.elb.modify_load_balancer_attributes
    set_to(LoadBalancerArn=balancer.arn, Attributes=[{"Key": key, "Value": "true"}])
    refused = refusal(balancer.elb.delete_load_balancer, LoadBalancerArn=balancer.arn)
    assert refused == "OperationNotPermitted"
    set_to(LoadBalancerArn=balancer.arn, Attributes=[{"Key": key, "Value": "false"}])
    balancer.elb.delete_load_balancer(LoadBalancerArn=balancer.arn)


def test_a_target_is_unused_until_a_rule_names_its_group(balancer: Balancer):
    group = balancer.group("a")
    elbv2.register(group, "127.77.0.1", 50051)
    assert balancer.health(group) == [("unused", "Target.NotInUse")]
    balancer.add_rule(balancer.https, a=0)
    balancer.wait(group, "healthy")


def test_a_target_starts_initial_and_ends_draining(balancer: Balancer, aws: Fake):
    group = balancer.group("a")
    balancer.add_rule(balancer.https, a=1)
    aws.speeds(task=0.2)
    elbv2.register(group, "127.77.0.1", 50051)
    assert balancer.health(group) == [("initial", "Elb.RegistrationInProgress")]
    balancer.wait(group, "healthy")
    elbv2.deregister(group, "127.77.0.1", 50051)
    assert balancer.health(group) == [("draining", "Target.DeregistrationInProgress")]
    aws.speeds(task=0.01)
    balancer.wait(group)


def test_a_target_that_does_not_answer_is_unhealthy(balancer: Balancer):
    group = balancer.group("a")
    balancer.add_rule(balancer.https, a=1)
    elbv2.register(group, "127.77.0.1", 50051)
    elbv2.set_probe(lambda ip, port: False)
    try:
        balancer.wait(group, "unhealthy")
        assert balancer.health(group) == [("unhealthy", "Target.FailedHealthChecks")]
    finally:
        elbv2.set_probe(None)


def test_open_targets_are_the_healthy_ones_that_weigh_something(balancer: Balancer):
    a, b = balancer.group("a"), balancer.group("b")
    balancer.add_rule(balancer.https, a=3, b=0)
    elbv2.register(a, "127.77.0.1", 50051)
    elbv2.register(b, "127.77.0.2", 50051)
    balancer.wait(a, "healthy")
    assert elbv2.open_targets(balancer.arn, 443) == [("127.77.0.1", 50051, 3)]
    assert elbv2.open_targets(balancer.arn, 80) == []


def test_a_load_balancer_can_be_given_an_address(balancer: Balancer):
    closed: list[str] = []
    elbv2.set_balancers(lambda arn, scheme: "127.0.0.1:8080", closed.append)
    try:
        made = balancer.balancer("public")
        assert made["DNSName"] == "127.0.0.1:8080"
        balancer.elb.delete_load_balancer(LoadBalancerArn=made["LoadBalancerArn"])
        assert closed == [made["LoadBalancerArn"]]
    finally:
        elbv2.set_balancers(None)


def test_a_certificate_must_exist(balancer: Balancer):
    missing = CERTIFICATE.replace("fake", "6d6f7468")
    refused = refusal(
        balancer.elb.create_listener, LoadBalancerArn=balancer.arn, Protocol="HTTPS", Port=8443,
        DefaultActions=[NO_SUCH], Certificates=[{"CertificateArn": missing}],
    )  # fmt: skip
    assert refused.startswith("CertificateNotFound")
