"""What the stacks of a mesh are with each router, against the fake AWS."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from rollouts import aws as our_aws
from rollouts import pki
from rollouts.models import Mesh
from rollouts.stacks import identity
from rollouts.stacks.cfn import ORDER, Cloud


@pytest.fixture(autouse=True)
def authority(settings, tmp_path):
    settings.PKI_DIR = tmp_path / "pki"


@pytest.fixture
def made(mesh, stacks, provide):
    """All stacks of the mesh with this router, made."""

    def run(router, **more):
        settings = {k: v for k, v in mesh.settings.items() if k != "certificate_arn"}
        Mesh.objects.filter(pk=mesh.pk).update(router=router, settings=settings | more)
        for name in ORDER:
            stack = provide(stacks[name])
            assert stack.phase == "ready", stack.reason
            stacks[name] = stack
        return stacks

    return run


def secret_of(stack):
    answer = our_aws.call(Cloud(stack).account, "secretsmanager", "get_secret_value",
                          SecretId=stack.outputs["EchoClientSecret"])  # fmt: skip
    return json.loads(answer["SecretString"])


def test_a_mesh_of_envoys_comes_with_the_identity_of_its_caller_and_goes(made, destroy, caplog):
    stacks = made("envoy")
    held = secret_of(stacks["mesh"])
    assert set(held) == {"cert", "key", "ca", "bootstrap"}
    assert pki.named_by(held["cert"]) == pki.Named("echo", "echo_client")
    assert "meshui.example.com" in held["bootstrap"]
    assert stacks["app"].outputs["Endpoint"].startswith("http://")
    rows = str([(s.operation, s.proposal, s.outputs) for s in stacks.values()])
    assert "PRIVATE KEY" in held["key"]
    assert "PRIVATE KEY" not in rows + caplog.text
    for name in reversed(ORDER):
        gone = destroy(stacks[name])
        assert gone.phase == "absent", gone.reason


def test_a_mesh_without_nat_and_with_a_bastion_is_made(mesh, stacks, provide, destroy):
    Mesh.objects.filter(pk=mesh.pk).update(settings={**mesh.settings, "nat": "none",
                                                     "bastion": "ssm"})  # fmt: skip
    infra = provide(stacks["infra"])
    assert infra.phase == "ready", infra.reason
    assert infra.outputs["Bastion"].startswith("i-")
    assert destroy(infra).phase == "absent"


def test_a_mesh_of_envoys_without_a_control_plane_is_told_so(mesh, stacks, provide, propose):
    settings = {"region": mesh.settings["region"]}
    Mesh.objects.filter(pk=mesh.pk).update(router="envoy", settings=settings)
    provide(stacks["infra"])
    (problem,) = propose(stacks["mesh"]).proposal["problems"]
    assert problem == "The router envoy needs the setting control_plane."


@pytest.fixture
def secret(mesh, cloud):
    """A secret without a value, as the stack makes it."""
    Mesh.objects.filter(pk=mesh.pk).update(router="envoy")
    mesh.refresh_from_db()
    account = our_aws.account_of(mesh.settings)
    return our_aws.call(account, "secretsmanager", "create_secret", Name="a")["ARN"]


def written(cloud):
    return len([each for each in cloud.calls() if each["operation"] == "PutSecretValue"])


def test_an_identity_that_is_well_is_left_alone(mesh, secret, cloud):
    now = timezone.now()
    identity.ensure(mesh, secret, now)
    identity.ensure(mesh, secret, now + timedelta(days=200))
    assert written(cloud) == 1


def test_an_identity_is_renewed_two_thirds_into_its_life(mesh, secret, cloud):
    now = timezone.now()
    identity.ensure(mesh, secret, now)
    identity.ensure(mesh, secret, now + timedelta(days=250))
    assert written(cloud) == 2


def test_another_control_plane_is_another_bootstrap(mesh, secret, cloud):
    now = timezone.now()
    identity.ensure(mesh, secret, now)
    mesh.settings["control_plane"] = "other.example.com:18001"
    identity.ensure(mesh, secret, now)
    assert written(cloud) == 2


def test_a_secret_with_something_else_in_it_is_written_again(mesh, secret, cloud):
    account = our_aws.account_of(mesh.settings)
    our_aws.call(account, "secretsmanager", "put_secret_value", SecretId=secret, SecretString="?")
    identity.ensure(mesh, secret, timezone.now())
    assert written(cloud) == 2
