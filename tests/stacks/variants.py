"""Every template as it is with each router and with the choices that open something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.stacks.template import Template

NAMES = ("infra", "mesh", "app")
EVERYBODY = "0.0.0.0/0"
DIGEST = "sha256:" + "0" * 64
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/1"
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:1"
GIVEN = {
    "infra": {},
    "mesh": {"ControlPlane": "meshui.example.com:18443", "CertificateArn": CERTIFICATE},
    "app": {"EchoClientSecret": SECRET, "EnvoyImage": f"envoy@{DIGEST}", "MeshName": "echo"},
}
ROUTERS = ("envoy", "appmesh", "alb")
every_router = pytest.mark.parametrize("router", ROUTERS)


def template(name: str, **parameters: str) -> Template:
    return Template(name, **{**GIVEN[name], **parameters})


def everything() -> Iterator[Template]:
    """Every template with every router, and the choices that open something."""
    for router in ROUTERS:
        yield template("infra", Router=router, Bastion="ssh", BastionCidr="203.0.113.7/32")
        yield template("infra", Router=router, Bastion="ssm", Nat="none")
        yield template("infra", Router=router, Nat="per-az")
        yield template("mesh", Router=router)
        yield template("app", Router=router)
        yield template("app", Router=router, CertificateArn=CERTIFICATE)


def groups() -> Iterator[tuple[str, dict[str, Any]]]:
    for each in everything():
        yield from each.of("EC2::SecurityGroup").items()


def rules(direction: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for logical, group in groups():
        for rule in group.get(direction, []):
            yield logical, rule


def containers(each: Template) -> Iterator[dict[str, Any]]:
    for definition in each.of("ECS::TaskDefinition").values():
        yield from definition["ContainerDefinitions"]


def statements(role: dict[str, Any]) -> list[dict[str, Any]]:
    return [s for policy in role.get("Policies", []) for s in policy["PolicyDocument"]["Statement"]]
