"""The hardening of the templates: each point of docs/aws.md as one assertion."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.stacks.template import written
from tests.stacks.variants import (
    CERTIFICATE,
    EVERYBODY,
    SECRET,
    containers,
    every_router,
    everything,
    groups,
    rules,
    statements,
    template,
)

# --- bastion


def test_there_is_no_bastion_unless_one_is_asked_for():
    made = template("infra")
    assert not made.of("EC2::Instance")
    assert "Bastion" not in made.outputs


def test_an_ssm_bastion_opens_no_port():
    group = template("infra", Bastion="ssm").of("EC2::SecurityGroup")["BastionSecurityGroup"]
    assert "SecurityGroupIngress" not in group


def test_ssh_is_open_to_the_given_addresses_only():
    made = template("infra", Bastion="ssh", BastionCidr="203.0.113.7/32")
    (rule,) = made.of("EC2::SecurityGroup")["BastionSecurityGroup"]["SecurityGroupIngress"]
    assert (rule["FromPort"], rule["ToPort"], rule["CidrIp"]) == (22, 22, "203.0.113.7/32")


def test_ssh_to_the_whole_internet_is_refused():
    asserted = json.dumps(written("infra")["Rules"]["SshNeedsAnAddressAndAKey"])
    assert EVERYBODY in asserted
    pattern = written("infra")["Parameters"]["BastionCidr"]["AllowedPattern"]
    assert pattern.endswith("/([1-9]|[12]\\d|3[0-2])")


def test_the_bastion_is_amazon_linux_2023():
    assert "/al2023-ami" in written("infra")["Parameters"]["BastionImage"]["Default"]


@pytest.mark.parametrize("bastion", ["ssm", "ssh"])
def test_the_bastion_has_imdsv2_within_one_hop(bastion):
    (machine,) = template("infra", Bastion=bastion).of("EC2::Instance").values()
    options = machine["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 1)


@pytest.mark.parametrize("bastion", ["ssm", "ssh"])
def test_the_disk_of_the_bastion_is_encrypted(bastion):
    (machine,) = template("infra", Bastion=bastion).of("EC2::Instance").values()
    assert [disk["Ebs"]["Encrypted"] for disk in machine["BlockDeviceMappings"]] == [True]


# --- who may talk to whom


def test_only_the_public_load_balancer_listens_to_addresses():
    open_to = {logical for logical, rule in rules("SecurityGroupIngress") if "CidrIp" in rule}
    assert open_to == {"BalancerSecurityGroup", "BastionSecurityGroup", "EndpointSecurityGroup"}


def test_the_public_load_balancer_listens_on_80_and_443_of_the_given_range():
    made = template("app", CertificateArn=CERTIFICATE, IngressCidr="198.51.100.0/24")
    ingress = made.of("EC2::SecurityGroup")["BalancerSecurityGroup"]["SecurityGroupIngress"]
    found = [(r["FromPort"], r["ToPort"], r["CidrIp"]) for r in ingress]
    assert found == [(80, 80, "198.51.100.0/24"), (443, 443, "198.51.100.0/24")]


def test_the_public_load_balancer_reaches_the_client_only():
    made = template("app", ClientSecurityGroup="sg-client")
    (rule,) = made.of("EC2::SecurityGroup")["BalancerSecurityGroup"]["SecurityGroupEgress"]
    assert (rule["DestinationSecurityGroupId"], rule["FromPort"]) == ("sg-client", 8080)


def test_no_rule_is_for_every_protocol_or_every_port():
    for direction in ("SecurityGroupIngress", "SecurityGroupEgress"):
        for logical, rule in rules(direction):
            assert rule["IpProtocol"] == "tcp", logical
            assert rule["FromPort"] == rule["ToPort"], logical


def test_descriptions_are_of_characters_that_ec2_takes():
    texts = [group["GroupDescription"] for _, group in groups()]
    for direction in ("SecurityGroupIngress", "SecurityGroupEgress"):
        texts += [rule["Description"] for _, rule in rules(direction)]
    allowed = re.compile(r"[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{1,255}")
    assert [text for text in texts if not allowed.fullmatch(text)] == []


def test_no_group_keeps_the_rule_that_lets_everything_out():
    assert all(group["SecurityGroupEgress"] for _, group in groups())


@every_router
def test_the_server_hears_the_mesh_only(router):
    made = template("mesh", Router=router)
    assert "SecurityGroupIngress" not in made.of("EC2::SecurityGroup")["ServerSecurityGroup"]
    rule = made.of("EC2::SecurityGroupIngress")["ServerFromClient"]
    caller = "BalancerSecurityGroup" if router == "alb" else "ClientSecurityGroup"
    assert rule["SourceSecurityGroupId"] == {"Ref": caller}
    assert rule["FromPort"] == rule["ToPort"] == 50051


def test_every_security_group_is_used():
    for each in everything():
        text = json.dumps([each.resources, each.outputs])
        for logical in each.of("EC2::SecurityGroup"):
            assert f'{{"Ref": "{logical}"}}' in text, logical


@every_router
def test_no_port_of_envoy_is_mapped(router):
    ports = {"8080", "50051"}
    for container in containers(template("app", Router=router)):
        mapped = {str(m["ContainerPort"]) for m in container.get("PortMappings", [])}
        assert mapped <= ports
        assert container["Name"] == "app" or not mapped


# --- load balancers


def balancers() -> Iterator[dict[str, Any]]:
    for each in everything():
        yield from each.of("ElasticLoadBalancingV2::LoadBalancer").values()


def attributes(balancer: dict[str, Any]) -> dict[str, str]:
    return {a["Key"]: a["Value"] for a in balancer["LoadBalancerAttributes"]}


def test_load_balancers_drop_invalid_headers():
    key = "routing.http.drop_invalid_header_fields.enabled"
    assert {attributes(each)[key] for each in balancers()} == {"true"}


def test_deletion_protection_is_a_parameter():
    (made,) = template("app", DeletionProtection="true").of(
        "ElasticLoadBalancingV2::LoadBalancer"
    ).values()  # fmt: skip
    assert attributes(made)["deletion_protection.enabled"] == "true"


def test_access_logs_are_kept_where_it_is_said():
    (made,) = template("app", AccessLogsBucket="logs").of(
        "ElasticLoadBalancingV2::LoadBalancer"
    ).values()  # fmt: skip
    assert attributes(made)["access_logs.s3.bucket"] == "logs"
    assert attributes(made)["access_logs.s3.enabled"] == "true"


def test_with_a_certificate_http_only_redirects():
    made = template("app", CertificateArn=CERTIFICATE)
    listeners = made.of("ElasticLoadBalancingV2::Listener")
    (action,) = listeners["HttpListener"]["DefaultActions"]
    assert (action["Type"], action["RedirectConfig"]["Protocol"]) == ("redirect", "HTTPS")
    assert made.outputs["Endpoint"]["Fn::Sub"][0] == "https://${Host}"


def test_an_internal_certificate_is_not_shown_to_the_public():
    made = template("app", Router="alb", CertificateArn=CERTIFICATE)
    assert "HttpsListener" not in made.resources
    both = template("app", Router="alb", CertificateArn=CERTIFICATE, PublicHost="echo.example.com")
    assert "HttpsListener" in both.resources


def test_https_needs_tls_1_2():
    listeners = [
        listener
        for each in everything()
        for listener in each.of("ElasticLoadBalancingV2::Listener").values()
        if listener["Protocol"] == "HTTPS"
    ]
    assert {each["SslPolicy"] for each in listeners} == {"ELBSecurityPolicy-TLS13-1-2-2021-06"}


def test_grpc_goes_over_https():
    made = template("mesh", Router="alb")
    (listener,) = made.of("ElasticLoadBalancingV2::Listener").values()
    assert listener["Protocol"] == "HTTPS"
    assert listener["Certificates"] == [{"CertificateArn": CERTIFICATE}]
    assert "AlbNeedsACertificate" in written("mesh")["Rules"]


# --- roles


@pytest.mark.parametrize("router", ["envoy", "alb"])
def test_tasks_may_do_nothing(router):
    role = template("app", Router=router).of("IAM::Role")["TaskRole"]
    assert not statements(role)
    assert "ManagedPolicyArns" not in role


def test_a_task_of_app_mesh_may_only_read_its_configuration():
    role = template("app", Router="appmesh").of("IAM::Role")["TaskRole"]
    (statement,) = statements(role)
    assert statement["Action"] == "appmesh:StreamAggregatedResources"
    assert ":mesh/echo/virtualNode/" in statement["Resource"]


def test_no_role_has_a_managed_policy_or_a_wild_action():
    for each in everything():
        for logical, role in each.of("IAM::Role").items():
            assert "ManagedPolicyArns" not in role, logical
            assert "*" not in json.dumps([s["Action"] for s in statements(role)]), logical


def test_every_resource_is_named_except_where_aws_has_none():
    without = {"ecr:GetAuthorizationToken"}
    for each in everything():
        for logical, role in each.of("IAM::Role").items():
            anything = [s["Action"] for s in statements(role) if s["Resource"] == "*"]
            assert logical == "BastionRole" or set(anything) <= without


def test_the_caller_may_read_one_secret():
    role = template("app").of("IAM::Role")["ClientExecutionRole"]
    allowed = [s for s in statements(role) if "secretsmanager" in str(s["Action"])]
    assert [(s["Action"], s["Resource"]) for s in allowed] == [
        ("secretsmanager:GetSecretValue", SECRET)
    ]


@pytest.mark.parametrize("router", ["appmesh", "alb"])
def test_without_an_own_control_plane_nobody_reads_a_secret(router):
    assert "secretsmanager:" not in json.dumps(template("app", Router=router).of("IAM::Role"))


def test_the_server_may_read_no_secret():
    role = template("app").of("IAM::Role")["ServerExecutionRole"]
    assert "secretsmanager" not in json.dumps(role)


# --- images, logs, network


def repositories() -> list[dict[str, Any]]:
    return list(template("infra").of("ECR::Repository").values())


def test_there_is_a_repository_of_each_image():
    found = [each["RepositoryName"] for each in repositories()]
    assert found == ["echo/echo_server", "echo/echo_client", "echo/envoy"]


def test_tags_cannot_be_moved():
    assert {each["ImageTagMutability"] for each in repositories()} == {"IMMUTABLE"}


def test_images_are_scanned_when_they_are_pushed():
    assert all(each["ImageScanningConfiguration"]["ScanOnPush"] for each in repositories())


def test_old_images_expire():
    for each in repositories():
        (rule,) = json.loads(each["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
        assert rule["action"]["type"] == "expire"
        assert rule["selection"]["countNumber"] == 200


def test_only_the_own_account_may_pull():
    for each in repositories():
        (statement,) = each["RepositoryPolicyText"]["Statement"]
        assert statement["Principal"]["AWS"].endswith(":${AWS::AccountId}:root")


def test_a_destroyed_repository_takes_its_images_with_it():
    assert all(each["EmptyOnDelete"] for each in repositories())


def test_images_are_by_digest_only():
    for name in ("EchoClientImage", "EnvoyImage"):
        pattern = written("app")["Parameters"][name]["AllowedPattern"]
        assert pattern.endswith("@sha256:[0-9a-f]{64}")
    for each in everything():
        assert ":latest" not in json.dumps(each.resources)


@pytest.mark.parametrize(
    ("nat", "gateways", "endpoints"),
    [("none", 0, 4), ("one", 1, 0), ("per-az", 2, 0)],
)
def test_nat_is_a_choice_and_endpoints_replace_it(nat, gateways, endpoints):
    made = template("infra", Nat=nat)
    assert len(made.of("EC2::NatGateway")) == gateways
    assert len(made.of("EC2::EIP")) == gateways
    every = made.of("EC2::VPCEndpoint").values()
    assert len([each for each in every if each["VpcEndpointType"] == "Interface"]) == endpoints
    assert "S3Endpoint" in made.resources


def test_without_nat_app_mesh_has_its_own_endpoint():
    assert "AppMeshEndpoint" in template("infra", Nat="none", Router="appmesh").resources


def test_the_builder_is_told_what_to_do_in_good_yaml():
    (project,) = template("infra").of("CodeBuild::Project").values()
    phases = yaml.safe_load(project["Source"]["BuildSpec"])["phases"]
    commands = [*phases["pre_build"]["commands"], *phases["build"]["commands"]]
    assert all(isinstance(command, str) for command in commands)
    assert 'docker push "$REPOSITORY:$TAG"' in commands


def test_tasks_have_no_public_address():
    service = template("app").of("ECS::Service")["ClientService"]
    assert service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "DISABLED"
    for subnet in template("infra").of("EC2::Subnet").values():
        assert "MapPublicIpOnLaunch" not in subnet


def test_the_network_is_over_two_zones():
    zones = [str(each["AvailabilityZone"]) for each in template("infra").of("EC2::Subnet").values()]
    assert len(zones) == 4
    assert len(set(zones)) == 2


def test_logs_outlive_the_stack_and_expire():
    made = template("infra", LogRetentionDays="90")
    (group,) = made.of("Logs::LogGroup").values()
    assert group["RetentionInDays"] == "90"
    assert made.resources["LogGroup"]["DeletionPolicy"] == "Retain"


def test_the_cluster_has_container_insights():
    (cluster,) = template("infra").of("ECS::Cluster").values()
    assert cluster["ClusterSettings"] == [{"Name": "containerInsights", "Value": "enabled"}]
