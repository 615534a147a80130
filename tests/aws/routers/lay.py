"""What the stacks of a mesh make for a router, made by hand: quick, and without CloudFormation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rollouts.models import Mesh, Service, Stack, Version

Client = Callable[[str], Any]
BASE = "echo-server-base"
GRPC_ROUTE: dict[str, Any] = {
    "match": {"serviceName": "proto.echo.EchoService"},
    "action": {"weightedTargets": [{"virtualNode": BASE, "weight": 1}]},
    "retryPolicy": {
        "grpcRetryEvents": ["unavailable"],
        "maxRetries": 2,
        "perRetryTimeout": {"unit": "ms", "value": 500},
    },
    "timeout": {"perRequest": {"unit": "s", "value": 9}},
}


def route(mesh: str) -> dict[str, str]:
    """How App Mesh is told which route."""
    return {"meshName": mesh, "virtualRouterName": "echo_server", "routeName": "echo_server"}


def service(router: str) -> Service:
    """A service with three versions on the mesh ``shop`` of fakes, but for its router."""
    settings = {"region": "eu-central-1"}
    mesh = Mesh.objects.create(
        slug="shop", name="shop", platform="fake", router=router, settings=settings
    )
    made = Service.objects.create(mesh=mesh, slug="greeter", name="echo_server.shop.local")
    for label in ("0.9", "1.0", "1.1"):
        Version.objects.add(made, label=label, digest=f"sha256:{label}", command=["serve", label])
    return made


def _stack(mesh: Mesh, outputs: dict[str, str]) -> None:
    ready = {"wanted": "present", "phase": "ready", "outputs": outputs}
    Stack.objects.update_or_create(mesh=mesh, name="mesh", defaults=ready)


def appmesh(client: Client, mesh: Mesh) -> None:
    api = client("appmesh")
    grpc = {"port": 50051, "protocol": "grpc"}
    api.create_mesh(meshName=mesh.slug)
    cloud_map = {
        "namespaceName": f"{mesh.slug}.local",
        "serviceName": "echo_server",
        "attributes": [{"key": "ECS_TASK_SET_EXTERNAL_ID", "value": BASE}],
    }
    api.create_virtual_node(
        meshName=mesh.slug,
        virtualNodeName=BASE,
        spec={
            "listeners": [{"portMapping": grpc}],
            "serviceDiscovery": {"awsCloudMap": cloud_map},
        },
    )
    api.create_virtual_router(
        meshName=mesh.slug,
        virtualRouterName="echo_server",
        spec={"listeners": [{"portMapping": grpc}]},
    )
    api.create_route(**route(mesh.slug), spec={"grpcRoute": GRPC_ROUTE})
    _stack(
        mesh,
        {
            "MeshName": mesh.slug,
            "Namespace": f"{mesh.slug}.local",
            "EchoServerRouter": "echo_server",
            "EchoServerRoute": "echo_server",
            "EchoServerBaseNode": BASE,
            "EchoServerPort": "50051",
        },
    )


def alb(client: Client, mesh: Mesh) -> None:
    ec2, api = client("ec2"), client("elbv2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=zone)["Subnet"]
        for n, zone in enumerate(("eu-central-1a", "eu-central-1b"))
    ]
    balancer = api.create_load_balancer(
        Name=f"{mesh.slug}-internal", Subnets=[s["SubnetId"] for s in subnets], Scheme="internal"
    )["LoadBalancers"][0]["LoadBalancerArn"]
    spare = api.create_target_group(
        Name=f"{mesh.slug}-spare",
        VpcId=vpc,
        TargetType="ip",
        Protocol="HTTP",
        ProtocolVersion="GRPC",
        Port=50051,
        Matcher={"GrpcCode": "0"},
    )["TargetGroups"][0]["TargetGroupArn"]
    certificate = client("acm").request_certificate(DomainName="shop.example.com")
    listener = api.create_listener(
        LoadBalancerArn=balancer,
        Port=443,
        Protocol="HTTPS",
        Certificates=[{"CertificateArn": certificate["CertificateArn"]}],
        DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}],
    )["Listeners"][0]["ListenerArn"]
    rule = api.create_rule(
        ListenerArn=listener,
        Priority=10,
        Conditions=[
            {
                "Field": "path-pattern",
                "PathPatternConfig": {"Values": ["/proto.echo.EchoService/*"]},
            }
        ],
        Actions=[
            {
                "Type": "forward",
                "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": spare, "Weight": 1}]},
            }
        ],
    )["Rules"][0]["RuleArn"]
    _stack(
        mesh,
        {
            "VpcId": vpc,
            "EchoServerPort": "50051",
            "EchoServerListenerRule": rule,
            "EchoServerSpareTargetGroup": spare,
        },
    )


LAY = {"appmesh": appmesh, "alb": alb}
