"""What the stacks make for the platform ``ecs``, made by hand: quick, and no CloudFormation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rollouts.models import Mesh, Service, Stack, Version
from tests.fakeaws.echo import Echo

Client = Callable[..., Any]
LOG_GROUP = "/meshui/echo"
TAGS = ("0.9", "1.0", "1.1-broken")


def lay(client: Client, router: str = "fake") -> Service:
    """The mesh ``echo`` on ECS, its stacks, and echo_server with the versions 0.9, 1.0 and 1.1.

    The image of 1.1 cannot be pulled.
    """
    echo = Echo(client).make()
    client("ecs").update_service(cluster="echo", service="echo_server", desiredCount=0)
    settings = {"region": "eu-central-1"}
    mesh = Mesh.objects.create(
        slug="echo", name="echo", platform="ecs", router=router, settings=settings
    )
    stacks(client, mesh, echo)
    made = Service.objects.create(
        mesh=mesh, slug="greeter", name="echo_server.echo.local", tasks=2, drain_s=0
    )
    for tag in TAGS:
        image = echo.image(tag)
        Version.objects.add(
            made, label=tag.removesuffix("-broken"), digest=image.partition("@")[2], image=image
        )
    return made


def stacks(client: Client, mesh: Mesh, echo: Echo) -> None:
    """Rows of the three stacks with the outputs that the platform reads."""
    client("logs").create_log_group(logGroupName=LOG_GROUP)
    infra = {
        "Cluster": "echo",
        "Namespace": "echo.local",
        "PrivateSubnets": echo.subnet,
        "LogGroup": LOG_GROUP,
    }
    app = {
        "EchoServerService": "echo_server",
        "EchoServerTaskDefinition": base_definition(echo),
        "EchoServerRegistry": echo.registry,
        "EchoServerRegistryId": echo.registry.rpartition("/")[2],
        "EchoServerSecurityGroup": echo.group,
        "EchoServerPort": "50051",
    }
    for name, outputs in (("infra", infra), ("mesh", {}), ("app", app)):
        Stack.objects.create(
            mesh=mesh,
            name=name,
            kind="cloudformation",
            wanted="present",
            phase="ready",
            outputs=outputs,
        )


def base_definition(echo: Echo) -> str:
    """What the stack app makes: never started itself."""
    logs = {
        "logDriver": "awslogs",
        "options": {
            "awslogs-group": LOG_GROUP,
            "awslogs-region": "eu-central-1",
            "awslogs-stream-prefix": "echo-server",
        },
    }
    return echo.definition(
        "echo-echo-server-base",
        "base",
        environment=[{"name": "VERSION", "value": "{label}"}, {"name": "PORT", "value": "50051"}],
        logConfiguration=logs,
    )
