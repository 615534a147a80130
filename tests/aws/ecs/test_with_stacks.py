"""The three stacks of a mesh, then versions on them with the router ``alb``; no laying by hand."""

from __future__ import annotations

from typing import Any

import pytest

from rollouts.domain.state import Phase
from rollouts.models import Mesh, Service, Version
from tests.aws.ecs.conftest import Side, new_process
from tests.fakeaws.control import Fake
from tests.stacks.conftest import certificate, cloud, mesh, propose, provide, stacks, walk

__all__ = ["certificate", "cloud", "mesh", "propose", "provide", "stacks", "walk"]


@pytest.fixture
def service(mesh: Mesh, stacks: Any, provide: Any, client: Any) -> Service:
    """What the stacks made, with the versions whose images a new repository has."""
    new_process()
    for name in ("infra", "mesh", "app"):
        stack = provide(stacks[name])
        assert stack.phase == "ready", stack.reason
        if name == "infra":
            digest = _digest(client, "echo/echo_client", "1.0")
            mesh.settings |= {
                "echo_client_image": f"{stack.outputs['EchoClientRepository']}@{digest}"
            }
            mesh.save()
    made = Service.objects.get(mesh=mesh)
    for label in ("0.9", "1.0"):
        digest = _digest(client, "echo/echo_server", label)
        image = f"{stacks_output(mesh, 'EchoServerRepository')}@{digest}"
        Version.objects.add(made, label=label, digest=digest, image=image)
    return made


def stacks_output(mesh: Mesh, key: str) -> str:
    return str(mesh.stacks.get(name="infra").outputs[key])


def _digest(client: Any, repository: str, tag: str) -> str:
    (found,) = client("ecr").describe_images(
        repositoryName=repository, imageIds=[{"imageTag": tag}]
    )["imageDetails"]
    return str(found["imageDigest"])


def test_versions_replace_each_other_on_what_the_stacks_made(
    service: Service, side: Side, cloud: Fake, client: Any
) -> None:
    side.deploy("0.9")
    side.until(lambda s: s.stable_id is not None, seconds=20)
    side.until(lambda _: side.primary() == ["0.9"], seconds=20)
    rollout = side.finished(side.deploy("1.0"), seconds=60)
    assert rollout.phase == Phase.SUCCEEDED, rollout.reason
    side.at_rest()
    assert side.running() == {"1.0": 2}
    assert side.families() == {"1.0"}
    (joined,) = side.sets()[0]["loadBalancers"]
    api = client("elbv2")
    health = api.describe_target_health(TargetGroupArn=joined["targetGroupArn"])
    assert len(health["TargetHealthDescriptions"]) == 2
    groups = [g["TargetGroupName"] for g in api.describe_target_groups()["TargetGroups"]]
    assert [name for name in groups if "-v" in name] == [f"echo-v{side.version('1.0').pk}"]
