"""What a router cannot do is refused when it is asked for, in a sentence, by field."""

from __future__ import annotations

from typing import Any

import pytest

from rollouts import actions
from rollouts.domain.plan import PRESETS, Step
from rollouts.errors import InvalidInput, InvalidPlan
from rollouts.models import Mesh, Service
from rollouts.routers.alb import AlbRouter
from rollouts.routers.appmesh import AppMeshRouter
from rollouts.routers.base import Caps, check_plan, router

ONE = Caps(max_targets=1)


def test_a_router_of_one_target_splits_nothing() -> None:
    check_plan((Step(0, approval=True), Step(100)), ONE)
    with pytest.raises(InvalidPlan, match="cannot split requests"):
        check_plan((Step(50, hold_s=1), Step(100)), ONE)


@pytest.mark.parametrize("caps", [AppMeshRouter.caps, AlbRouter.caps])
def test_every_preset_is_possible_on_aws(caps: Caps) -> None:
    for preset in PRESETS.values():
        check_plan(preset.steps, caps)


def test_caps_are_those_of_the_services_behind_them() -> None:
    mesh, alb = router("appmesh").caps, router("alb").caps
    assert (mesh.max_targets, mesh.settle_s, mesh.hold_before_scale_in_s) == (10, 15.0, 60.0)
    assert (alb.max_targets, alb.settle_s, alb.hold_before_scale_in_s) == (5, 15.0, 120.0)
    assert not mesh.provable
    assert not alb.provable


def test_a_default_plan_that_the_router_cannot_do_is_refused(
    service: Service, ask: Any, world: Any
) -> None:
    world.caps = ONE
    with pytest.raises(InvalidInput, match="cannot split") as told:
        actions.change_service(service, {"default_plan": "50:60s, 100"}, ask=ask())
    assert told.value.field == "default_plan"
    actions.change_service(service, {"default_plan": "0:approval, 100", "keep_warm": 0}, ask=ask())


def test_more_versions_kept_warm_than_a_rule_can_name_are_refused(mesh: Mesh, ask: Any) -> None:
    Mesh.objects.filter(pk=mesh.pk).update(router="alb")
    fields = {"slug": "echo", "name": "echo.shop.local", "keep_warm": 4}
    with pytest.raises(InvalidInput, match="names 5 versions") as told:
        actions.add_service(Mesh.objects.get(), fields, ask=ask())
    assert told.value.field == "keep_warm"
    assert actions.add_service(Mesh.objects.get(), fields | {"keep_warm": 3}, ask=ask()).pk
