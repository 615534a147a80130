"""A mesh with a version in it: made, deployed to, destroyed, and nothing is left."""

from __future__ import annotations

import time
from typing import Any

import pytest

from rollouts import actions, provision, reconcile
from rollouts import aws as our_aws
from rollouts.domain.plan import ALL_AT_ONCE
from rollouts.models import Mesh, Rollout, Service, Stack, Version
from rollouts.stacks.cfn import ORDER, Cloud
from tests.stacks.conftest import AGAIN_S

DEADLINE_S = 60


def deploy(infra: Stack, clock, label="0.9"):
    """Deploy a seeded image and tick until it is stable."""
    account = Cloud(infra).account
    images: list[Any] = our_aws.pages(account, "ecr", "describe_images", "imageDetails",
                                      repositoryName="echo/echo_server")  # fmt: skip
    digest = next(each["imageDigest"] for each in images if label in each["imageTags"])
    service = Service.objects.get()
    image = f"{infra.outputs['EchoServerRepository']}@{digest}"
    version = Version.objects.add(service, label=label, digest=digest, image=image)
    Rollout.objects.begin(service, version, plan=ALL_AT_ONCE, plan_name="First deploy",
                          now=clock.moment.now)  # fmt: skip
    ends = time.monotonic() + DEADLINE_S
    while time.monotonic() < ends and not Service.objects.get().stable_id:
        reconcile.tick(service.pk, clock.pass_(2))
        time.sleep(AGAIN_S)
    assert Service.objects.get().stable_id == version.pk, Service.objects.get().waiting


@pytest.mark.parametrize("router", ["alb", "appmesh"])
def test_a_mesh_with_a_version_goes_without_a_trace(
    router, mesh, stacks, provide, destroy, clock, cloud, ask
):
    Mesh.objects.filter(pk=mesh.pk).update(router=router)
    stacks = {name: provide(stacks[name]) for name in ORDER}
    assert [stack.phase for stack in stacks.values()] == ["ready"] * 3
    names = [stacks["mesh"].outputs.get(f"EchoServer{n}") for n in ("Route", "VirtualService")]
    wanted = ["echo_server", "echo_server.echo.local"] if router == "appmesh" else [None, None]
    assert names == wanted
    deploy(stacks["infra"], clock)
    app = stacks["app"]
    actions.request_deprovision(app, typed_name="app", ask=ask())
    reasons = set()
    ends = time.monotonic() + DEADLINE_S
    while time.monotonic() < ends and app.phase not in ("absent", "failed"):
        provision.tick(app.pk, clock.pass_(2))
        reconcile.tick(Service.objects.get().pk, clock.pass_(2))
        app.refresh_from_db()
        reasons.add(app.reason)
        time.sleep(AGAIN_S)
    assert app.phase == "absent", app.reason
    assert "2 tasks are stopping." in reasons
    for name in ("mesh", "infra"):
        gone = destroy(stacks[name])
        assert gone.phase == "absent", gone.reason
    assert set(cloud.leftovers()) == {"log-group"}
