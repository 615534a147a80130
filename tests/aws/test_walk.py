"""The whole walk on the fake AWS through the web pages, read back by an independent client.

Provision → deploy 0.9 → deploy 1.0 with 50 and 100 → roll back → an image that cannot be pulled →
destroy. After each of them the ``aws`` command line, with a botocore of its own, must say the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client

from rollouts import aws as calls
from rollouts.models import Event, Mesh, Service
from rollouts.routers.alb import AlbRouter
from rollouts.routers.appmesh import AppMeshRouter
from tests.aws.outsider import AWS, Cli
from tests.aws.person import STACKS, Person, until
from tests.fakeaws.control import Fake
from tests.fakeaws.fixtures import REGION, aws, aws_server

__all__ = ["aws", "aws_server"]

HALF = "50:approval,100"
outsider = pytest.mark.skipif(
    not AWS.exists(), reason="the aws command line is not installed: `make awscli`"
)


@pytest.fixture
def on_aws(db: None, aws: Fake, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """meshui reaches the fake; nobody waits for weights to settle there."""
    settings.AWS_ENDPOINT_URL = aws.url
    calls.forget()
    for router in (AppMeshRouter, AlbRouter):
        at_once = replace(router.caps, settle_s=0.0, hold_before_scale_in_s=0.0)
        monkeypatch.setattr(router, "caps", at_once)
    yield aws
    calls.forget()


@pytest.fixture(params=["appmesh", "alb"])
def person(request: pytest.FixtureRequest, on_aws: Fake, operator: Any) -> Person:
    """Who has registered a mesh through the form. With ``envoy``: tests/e2e/test_aws.py."""
    client = Client()
    client.force_login(operator)
    certificate = calls.call(
        calls.Account(REGION), "acm", "request_certificate", DomainName="echo.example.com"
    )["CertificateArn"]
    page = client.post(
        "/infrastructure/add/",
        {
            "name": "Echo", "slug": "echo", "router": request.param, "region": REGION,
            "nat": "none", "bastion": "none", "ingress_cidr": "0.0.0.0/0",
            "control_plane": "meshui.example.com:18443", "log_retention_days": "30",
            "certificate_arn": certificate, "echo_client_count": "2", "kept_images": "200",
        },
    )  # fmt: skip
    assert page.status_code == 302, page.content.decode()[-3000:]
    return Person(client, Mesh.objects.get(slug="echo"))


@pytest.fixture
def cli(on_aws: Fake) -> Iterator[Cli]:
    made = Cli(on_aws.url, REGION)
    yield made
    made.close()


def outputs(mesh: Mesh) -> dict[str, str]:
    return {k: v for stack in mesh.stacks.all() for k, v in stack.outputs.items()}


class Reader:
    """Compares what meshui's rows say with what the outsider reads."""

    def __init__(self, person: Person, cli: Cli) -> None:
        self._person, self._cli = person, cli
        self._outputs = outputs(person.mesh)

    def agree(self, running: set[str], weights: dict[str, int]) -> None:
        """These labels run, with their images by digest, and these have a share."""
        person = self._person
        of = {v.label: v for v in person.service.versions.all()}
        sets = self._cli.task_sets(self._outputs["Cluster"], self._outputs["EchoServerService"])
        wanted = {of[label].target: (2, of[label].digest) for label in running}
        assert {name: found[1:] for name, found in sets.items()} == wanted
        stable = person.service.stable
        primary = [name for name, found in sets.items() if found[0] == "PRIMARY"]
        assert primary == ([stable.target] if stable else [])
        expected = {of[label].target: weight for label, weight in weights.items()}
        assert self._cli.weights(person.mesh.router, self._outputs) == expected
        assert person.service.weights == {
            str(of[label].pk): weights.get(label, 0)
            for label in {v.label for v in of.values() if str(v.pk) in person.service.weights}
        }


@outsider
def test_from_nothing_to_nothing_and_an_outsider_reads_the_same(
    person: Person, cli: Cli, on_aws: Fake
) -> None:
    for name in STACKS:
        person.create(name)
    slug = person.mesh.slug
    assert cli.stacks() == {f"{slug}-{name}": "CREATE_COMPLETE" for name in STACKS}
    for tag in ("0.9", "1.0", "1.1-broken"):
        person.add_version(tag)
    Service.objects.update(
        abort_delay_s=1, drain_s=1, keep_warm=2
    )  # half a minute is too long for a test
    reader = Reader(person, cli)

    person.until_rollout(person.deploy("0.9", "100"), "succeeded")
    until(lambda: person.service.stable is not None, "0.9 is stable")
    reader.agree({"0.9"}, {"0.9": 100})

    rollout = person.deploy("1.0", HALF)
    person.until_share("1.0", 50)
    reader.agree({"0.9", "1.0"}, {"0.9": 50, "1.0": 50})
    person._post(f"/rollouts/{rollout.pk}/promote/", step="0")
    person.until_rollout(rollout, "succeeded")
    reader.agree({"0.9", "1.0"}, {"1.0": 100})

    number = person.service.versions.get(label="0.9").number
    person._post(f"/services/{person.service.slug}/versions/{number}/return/")
    person.until_share("0.9", 100)
    until(lambda: person.service.stable and person.service.stable.label == "0.9", "0.9 is stable")
    reader.agree({"0.9", "1.0"}, {"0.9": 100})

    broken = person.deploy("1.1-broken", HALF)
    person.until_rollout(broken, "rolled_back")
    assert "CannotPullContainerError" in broken.reason
    page = person.client.get(broken.get_absolute_url()).content.decode()
    assert "Image not found" in page, "the card says what it means"
    person.until_gone("1.1-broken")
    until(lambda: _sets(on_aws) <= 2, "its task set is gone")
    reader.agree({"0.9", "1.0"}, {"0.9": 100})

    for name in reversed(STACKS):
        person.destroy(name)
    assert cli.stacks() == {}
    left = on_aws.leftovers()
    assert left.keys() <= {"log-group"}, f"left behind: {left}"
    assert Event.objects.filter(verb="stack-absent").count() == len(STACKS)


def _sets(fake: Fake) -> int:
    return len(fake.leftovers().get("task-set", []))
