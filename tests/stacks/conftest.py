"""A mesh on the fake AWS, and ticks of its stacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rollouts import actions, provision
from rollouts import aws as our_aws
from rollouts.models import Mesh, Stack
from rollouts.stacks.cfn import ORDER
from tests.conftest import Clock
from tests.fakeaws.control import Fake
from tests.fakeaws.fixtures import REGION, aws, aws_server

__all__ = ["aws", "aws_server"]

DEADLINE_S = 30
AGAIN_S = 0.05


@pytest.fixture
def cloud(aws: Fake, settings: Any) -> Iterator[Fake]:
    """The fake AWS as meshui reaches it."""
    settings.AWS_ENDPOINT_URL = aws.url
    our_aws.forget()
    yield aws
    our_aws.forget()


@pytest.fixture
def certificate(cloud: Fake) -> str:
    """ARN of a certificate that the fake AWS knows."""
    account = our_aws.Account(REGION)
    made = our_aws.call(account, "acm", "request_certificate", DomainName="echo.example.com")
    return str(made["CertificateArn"])


@pytest.fixture
def mesh(db: None, cloud: Fake, certificate: str) -> Mesh:
    return Mesh.objects.create(
        slug="echo",
        name="echo",
        platform="ecs",
        router="alb",
        settings={"region": REGION, "control_plane": "meshui.example.com:18443",
                  "certificate_arn": certificate},
    )  # fmt: skip


@pytest.fixture
def stacks(mesh: Mesh) -> dict[str, Stack]:
    return {
        name: Stack.objects.create(mesh=mesh, name=name, kind="cloudformation") for name in ORDER
    }


Walk = Callable[..., Stack]


@pytest.fixture
def walk(clock: Clock) -> Walk:
    """Tick one stack until nobody would wake it any more, or until ``phase``."""

    def run(stack: Stack, until: str = "") -> Stack:
        ends = time.monotonic() + DEADLINE_S
        while time.monotonic() < ends:
            before = stack.step
            provision.tick(stack.pk, clock.pass_(2))
            stack = Stack.objects.select_related("mesh").get(pk=stack.pk)
            if stack.phase == until or (not until and stack.wake_at is None):
                return stack
            if stack.step == before:
                time.sleep(AGAIN_S)  # meshui itself would look again seconds later
        raise AssertionError(f"{stack.phase} at {stack.step}: {stack.reason}")

    return run


@pytest.fixture
def propose(ask: Any, walk: Walk) -> Callable[[Stack], Stack]:
    def run(stack: Stack) -> Stack:
        actions.request_proposal(stack, ask=ask())
        return walk(stack)

    return run


@pytest.fixture
def provide(ask: Any, walk: Walk, propose: Callable[[Stack], Stack]) -> Callable[..., Stack]:
    """Propose, confirm, and walk to the end."""

    def run(stack: Stack) -> Stack:
        proposed = propose(stack)
        assert proposed.phase == "proposed", proposed.reason
        change_set = proposed.proposal["change_set"]
        assert change_set, proposed.proposal["problems"]
        actions.request_provision(proposed, ask=ask(), change_set=change_set)
        return walk(proposed)

    return run


@pytest.fixture
def destroy(ask: Any, walk: Walk) -> Callable[..., Stack]:
    def run(stack: Stack, **more: Any) -> Stack:
        actions.request_deprovision(stack, typed_name=stack.name, ask=ask(), **more)
        return walk(stack)

    return run


@pytest.fixture
def all_three(stacks: dict[str, Stack], provide: Callable[..., Stack]) -> dict[str, Stack]:
    for name in ORDER:
        made = provide(stacks[name])
        assert made.phase == "ready", made.reason
    return {each.name: each for each in Stack.objects.select_related("mesh")}
