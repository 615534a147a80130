"""Wishes about meshes and stacks: what is refused, and in which words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from rollouts import actions, provision
from rollouts.errors import ActionRefused, InvalidInput, NotAllowed, Stale
from rollouts.models import Event, Mesh, Service, Stack
from rollouts.stacks import base
from rollouts.stacks.base import Change, Progress

FIELDS = {"slug": "echo", "name": "Echo", "platform": "ecs", "router": "envoy",
          "settings": {"region": "eu-west-1"}}  # fmt: skip


class Proposer:
    """Proposes the change set c1 at once, and makes it at once."""

    proposes = True

    def preview(self, stack: Stack) -> Sequence[Change]:
        return []

    def advance(self, stack: Stack) -> Progress:
        if stack.drift_requested_at and stack.drift_at is None and stack.phase == "ready":
            return Progress("ready", "", 1, 1, drift={"status": "IN_SYNC"})
        if stack.wanted == Stack.PROPOSAL:
            return Progress("proposed", "", 0, 1, proposal={"change_set": "c1"})
        if stack.wanted == Stack.PRESENT:
            return Progress("ready", "", 1, 1, outputs={"VpcId": "vpc-1"})
        return Progress("absent", "", 0, 1)


@pytest.fixture
def aws_mesh(db: None, ask: Any, monkeypatch: pytest.MonkeyPatch) -> Mesh:
    monkeypatch.setitem(base.REGISTRY, "cloudformation", f"{__name__}.Proposer")
    return actions.add_mesh(FIELDS, ask=ask())


@pytest.fixture
def infra(aws_mesh: Mesh) -> Stack:
    return aws_mesh.stacks.get(name="infra")


def create(stack: Stack, ask: Any, clock: Any) -> None:
    actions.request_proposal(stack, ask=ask())
    provision.tick_due(clock.moment)
    actions.request_provision(stack, change_set="c1", ask=ask())
    provision.tick_due(clock.moment)


def test_a_mesh_on_aws_has_three_stacks_of_which_none_is_there(aws_mesh: Mesh) -> None:
    assert list(aws_mesh.stacks.order_by("pk").values_list("name", "phase")) == [
        ("infra", "absent"), ("mesh", "absent"), ("app", "absent")]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"slug": "Echo"}, "slug"),
        ({"slug": "a" * 21}, "slug"),
        ({"slug": "echo"}, "slug"),
        ({"platform": "local"}, "platform"),
        ({"name": ""}, "name"),
    ],
)
def test_a_wrong_mesh_is_refused_by_field(
    aws_mesh: Mesh, ask: Any, change: dict[str, str], field: str
) -> None:
    with pytest.raises(InvalidInput) as wrong:
        actions.add_mesh({**FIELDS, "slug": "other", **change}, ask=ask())
    assert wrong.value.field == field
    assert Mesh.objects.count() == 1


def test_only_who_may_provision_adds_a_mesh(db: None, viewer: Any, ask: Any) -> None:
    with pytest.raises(NotAllowed):
        actions.add_mesh(FIELDS, ask=ask(by=viewer))
    assert not Mesh.objects.exists()


def test_what_is_made_is_the_change_set_that_was_seen(infra: Stack, ask: Any, clock: Any) -> None:
    with pytest.raises(ActionRefused, match="Look at the changes"):
        actions.request_provision(infra, ask=ask())
    actions.request_proposal(infra, ask=ask())
    provision.tick_due(clock.moment)
    with pytest.raises(Stale):
        actions.request_provision(infra, change_set="c0", ask=ask())
    actions.request_provision(infra, change_set="c1", ask=ask())
    provision.tick_due(clock.moment)
    infra.refresh_from_db()
    assert (infra.phase, infra.outputs) == ("ready", {"VpcId": "vpc-1"})


def test_dropped_changes_leave_a_stack_as_it_was(infra: Stack, ask: Any, clock: Any) -> None:
    actions.request_proposal(infra, ask=ask())
    provision.tick_due(clock.moment)
    actions.request_discard(infra, ask=ask())
    infra.refresh_from_db()
    assert (infra.wanted, infra.asked) == (Stack.ABSENT, {"discard": True})
    provision.tick_due(clock.moment)
    with pytest.raises(ActionRefused):
        actions.request_discard(infra, ask=ask())


def test_a_stack_that_another_needs_is_not_destroyed(
    aws_mesh: Mesh, infra: Stack, ask: Any, clock: Any
) -> None:
    create(infra, ask, clock)
    create(aws_mesh.stacks.get(name="mesh"), ask, clock)
    with pytest.raises(ActionRefused, match="destroy mesh first"):
        actions.request_deprovision(infra, typed_name="infra", ask=ask())


def test_drift_is_asked_of_a_ready_stack_only(infra: Stack, ask: Any, clock: Any) -> None:
    with pytest.raises(ActionRefused, match="nothing to compare"):
        actions.request_drift(infra, ask=ask())
    create(infra, ask, clock)
    actions.request_drift(infra, ask=ask())
    provision.tick_due(clock.pass_(1))
    infra.refresh_from_db()
    assert infra.drift == {"status": "IN_SYNC"}
    assert infra.drift_at == clock.moment.now
    assert (infra.phase, infra.wake_at) == ("ready", None)


def test_a_mesh_is_deleted_only_when_nothing_of_it_is_there(
    aws_mesh: Mesh, infra: Stack, ask: Any, clock: Any
) -> None:
    create(infra, ask, clock)
    with pytest.raises(ActionRefused, match="infra is there"):
        actions.delete_mesh(aws_mesh, typed_name="echo", ask=ask())
    actions.request_deprovision(infra, typed_name="infra", ask=ask())
    provision.tick_due(clock.pass_(1))
    with pytest.raises(InvalidInput):
        actions.delete_mesh(aws_mesh, typed_name="eco", ask=ask())
    Service.objects.create(mesh=aws_mesh, slug="echo-x", name="x.echo.local")
    actions.delete_mesh(aws_mesh, typed_name="echo", ask=ask())
    assert not Mesh.objects.exists()
    assert Event.objects.filter(verb="delete-mesh").count() == 1


def test_two_meshes_may_have_a_service_of_one_name_but_not_one_mesh_two(
    aws_mesh: Mesh, mesh: Mesh, ask: Any
) -> None:
    for number, place in enumerate((aws_mesh, mesh)):
        fields = {"slug": f"echo-{number}", "name": "echo_server.echo.local"}
        actions.add_service(place, fields, ask=ask())
    with pytest.raises(InvalidInput) as wrong:
        actions.add_service(mesh, {"slug": "echo-3", "name": "echo_server.echo.local"}, ask=ask())
    assert wrong.value.field == "name"


def test_a_version_on_aws_is_an_image_by_digest(aws_mesh: Mesh, ask: Any) -> None:
    service = actions.add_service(
        aws_mesh, {"slug": "echo-1", "name": "echo_server.echo.local"}, ask=ask()
    )
    build: Any = {"command": [], "environment": {}}
    with pytest.raises(InvalidInput) as wrong:
        actions.add_version(service, label="1", image="repo:1.0", ask=ask(), **build)
    assert wrong.value.field == "image"
    image = f"repo@sha256:{'a' * 64}"
    version = actions.add_version(service, label="1", image=image, ask=ask(), **build)
    assert version.digest == f"sha256:{'a' * 64}"
