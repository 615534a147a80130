"""The three templates as a whole: clean for cfn-lint, with the outputs that others read."""

from __future__ import annotations

import pytest
from cfnlint.api import lint_file  # type: ignore[import-untyped]

from tests.stacks.template import FOLDER, written
from tests.stacks.variants import (
    NAMES,
    SECRET,
    every_router,
    template,
)

# --- as a whole


@pytest.mark.parametrize("name", NAMES)
def test_cfn_lint_finds_nothing(name):
    found = lint_file(FOLDER / f"{name}.yaml")
    assert [f"{match.rule.id} {match.message}" for match in found] == []


def test_only_the_end_of_app_mesh_is_waived():
    waived = [written(name).get("Metadata", {}).get("cfn-lint") for name in NAMES]
    assert waived == [None, {"config": {"ignore_checks": ["W3696"]}}, None]


@pytest.mark.parametrize("name", NAMES)
def test_a_template_fits_into_one_call(name):
    assert (FOLDER / f"{name}.yaml").stat().st_size <= 51_200


def test_the_outputs_are_those_that_others_read():
    infra = {"VpcId", "PublicSubnets", "PrivateSubnets", "Cluster", "Namespace", "NamespaceId"}
    infra |= {"LogGroup", "EchoServerRepository", "EchoClientRepository", "EnvoyRepository"}
    assert infra | {"ImageBuilder"} == set(template("infra").outputs)
    assert "Bastion" in template("infra", Bastion="ssm").outputs
    app = {"Service", "TaskDefinition", "Registry", "RegistryId", "SecurityGroup", "Port"}
    assert {"Endpoint"} | {f"EchoServer{each}" for each in app} == set(template("app").outputs)


@pytest.mark.parametrize(
    ("router", "own"),
    [
        ("envoy", {"EchoClientSecret"}),
        ("appmesh", {"MeshName", "EchoServerRouter", "EchoServerRoute", "EchoServerVirtualService",
                     "EchoServerBaseNode"}),
        ("alb", {"EchoServerListenerRule", "EchoServerLoadBalancer", "EchoServerSpareTargetGroup"}),
    ],
)  # fmt: skip
def test_each_router_has_its_own_outputs(router, own):
    shared = {"ClientSecurityGroup", "ServerSecurityGroup"}
    assert set(template("mesh", Router=router).outputs) == shared | own


def test_later_templates_ask_only_for_what_earlier_ones_give_or_a_setting():
    given = {"ProjectName", "Router", "EchoClientImage"}
    for name in NAMES:
        parameters = written(name)["Parameters"]
        needed = {k for k, v in parameters.items() if "Default" not in v}
        assert needed <= given, name
        given |= set(written(name)["Outputs"])


# --- tasks


@every_router
def test_every_container_has_a_memory_limit_within_its_task(router):
    for definition in template("app", Router=router).of("ECS::TaskDefinition").values():
        asked = [each["Memory"] for each in definition["ContainerDefinitions"]]
        assert sum(asked) <= int(definition["Memory"])


def test_the_server_waits_for_meshui_to_make_its_versions():
    service = template("app").of("ECS::Service")["EchoServerService"]
    assert service["DeploymentController"] == {"Type": "EXTERNAL"}
    assert not service.keys() & {"TaskDefinition", "DesiredCount"}


def test_the_caller_calls_through_the_envoy_beside_it():
    app, envoy = template("app").of("ECS::TaskDefinition")["ClientTaskDefinition"][
        "ContainerDefinitions"
    ]
    environment = {e["Name"]: e["Value"] for e in app["Environment"]}
    assert environment["SERVER_ENDPOINT"] == "127.0.0.1:15001"
    assert app["DependsOn"] == [{"ContainerName": "envoy", "Condition": "HEALTHY"}]
    secrets = {s["Name"]: s["ValueFrom"] for s in envoy["Secrets"]}
    assert secrets == {
        "ENVOY_BOOTSTRAP": f"{SECRET}:bootstrap::",
        "MESHUI_XDS_CERT": f"{SECRET}:cert::",
        "MESHUI_XDS_KEY": f"{SECRET}:key::",
        "MESHUI_XDS_CA": f"{SECRET}:ca::",
    }


def test_with_load_balancer_weights_the_caller_speaks_tls_to_it():
    made = template("app", Router="alb", EchoServerLoadBalancer="internal.example.com")
    (app,) = made.of("ECS::TaskDefinition")["ClientTaskDefinition"]["ContainerDefinitions"]
    environment = {e["Name"]: e["Value"] for e in app["Environment"]}
    assert environment["SERVER_ENDPOINT"] == "internal.example.com:443"
    assert environment["SERVER_TLS"] == "1"


def test_the_envoy_of_a_version_on_app_mesh_is_told_its_node():
    made = template("app", Router="appmesh").of("ECS::TaskDefinition")["ServerTaskDefinition"]
    _, envoy = made["ContainerDefinitions"]
    (variable,) = envoy["Environment"]
    assert variable["Name"] == "APPMESH_RESOURCE_ARN"
    assert variable["Value"].endswith(":mesh/echo/virtualNode/{target}")


@every_router
def test_a_caller_without_a_server_is_well(router):
    (group,) = template("app", Router=router).of("ElasticLoadBalancingV2::TargetGroup").values()
    assert group["HealthCheckPath"] == "/alive"
    assert group["Matcher"] == {"HttpCode": "200,404"}


def test_the_first_route_of_app_mesh_names_a_node_without_tasks():
    made = template("mesh", Router="appmesh")
    grpc = made.of("AppMesh::Route")["EchoServerRoute"]["Spec"]["GrpcRoute"]
    assert grpc["Match"] == {"ServiceName": "proto.echo.EchoService"}
    (target,) = grpc["Action"]["WeightedTargets"]
    assert target["VirtualNode"] == {"Fn::GetAtt": ["EchoServerBaseNode", "VirtualNodeName"]}
