"""What a person may do, and what is refused with a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from rollouts import actions, doors
from rollouts.domain.plan import Step
from rollouts.domain.state import Phase
from rollouts.errors import ActionRefused, InvalidInput, NotAllowed, Stale
from rollouts.models import Event, Rollout, Service, Stack, Version
from tests.conftest import person

PLAN = (Step(50, hold_s=60), Step(75, hold_s=60), Step(100))


@pytest.fixture
def live(service: Service, version: Any, ask: Any, tick: Any) -> Rollout:
    """A rollout 0.9 → 1.0 that holds at 50 %."""
    deploy(service, version("0.9"), ask())
    tick()
    rollout = deploy(service, version("1.0"), ask())
    tick()
    return fresh(rollout)


def deploy(service: Service, version: Version, ask: Any) -> Rollout:
    service = Service.objects.select_related("mesh", "stable").get(pk=service.pk)
    return actions.request_deploy(service, version, plan=PLAN, plan_name="Test", ask=ask)


def fresh(rollout: Rollout) -> Rollout:
    return Rollout.objects.select_related("service__mesh", "to_version").get(pk=rollout.pk)


def test_one_rollout_is_live_per_service(live: Rollout, version: Any, ask: Any) -> None:
    with pytest.raises(ActionRefused, match=rf"Rollout #{live.pk} to 1.0 is running"):
        deploy(live.service, version("1.1"), ask())
    assert Rollout.objects.live().count() == 1


def test_deploying_the_stable_version_rolls_back(live: Rollout, version: Any, ask: Any) -> None:
    assert deploy(live.service, version("0.9"), ask()) == live
    assert fresh(live).rollback_requested_at is not None


def test_deploying_what_is_stable_is_refused(
    service: Service, version: Any, ask: Any, tick: Any
) -> None:
    deploy(service, version("0.9"), ask())
    tick()
    with pytest.raises(ActionRefused, match="stable and serves 100 % already"):
        deploy(service, version("0.9"), ask())


def test_deploys_by_token_are_refused_while_automatic_deploys_are_off(
    live: Rollout, version: Any, ask: Any, tick: Any
) -> None:
    actions.request_rollback(live, ask=ask())
    tick()
    with pytest.raises(ActionRefused, match="Automatic deploys are off"):
        deploy(live.service, version("1.1"), ask(source="api"))
    actions.set_automatic_deploys(live.service, True, ask=ask())
    assert deploy(live.service, version("1.1"), ask(source="api")).phase == Phase.PENDING


@pytest.mark.parametrize(
    "act",
    [
        lambda r, a: actions.request_rollback(r, ask=a),
        lambda r, a: actions.request_abort(r, ask=a),
        lambda r, a: actions.request_pause(r, ask=a),
        lambda r, a: actions.request_promote(r, step=0, ask=a),
        lambda r, a: actions.request_promote_full(r, ask=a),
    ],
)
class TestEveryWish:
    def test_it_is_one_event_and_one_revision(self, act: Any, live: Rollout, ask: Any) -> None:
        act(live, ask(reason="why"))
        assert fresh(live).revision == live.revision + 1
        event = Event.objects.first()
        assert event is not None
        assert (event.actor, event.reason, event.source) == ("operator", "why", "web")

    def test_it_needs_a_permission(self, act: Any, live: Rollout, ask: Any, viewer: Any) -> None:
        with pytest.raises(NotAllowed, match="Ask the operator group"):
            act(live, ask(by=viewer))
        assert fresh(live).revision == live.revision

    def test_a_stale_page_cannot_act(self, act: Any, live: Rollout, ask: Any) -> None:
        with pytest.raises(Stale, match="moved on"):
            act(live, ask(expect=live.revision - 1))
        assert fresh(live).revision == live.revision

    def test_the_same_request_twice_acts_once(self, act: Any, live: Rollout, ask: Any) -> None:
        act(live, ask(request_id="abcdefgh"))
        act(live, ask(request_id="abcdefgh"))
        assert fresh(live).revision == live.revision + 1

    def test_a_finished_rollout_refuses_it(
        self, act: Any, live: Rollout, ask: Any, tick: Any
    ) -> None:
        actions.request_rollback(live, ask=ask())
        tick()
        tick()
        with pytest.raises(ActionRefused, match="already finished"):
            act(live, ask())


def test_a_request_id_is_good_for_one_kind_of_request(live: Rollout, ask: Any) -> None:
    actions.request_pause(live, ask=ask(request_id="abcdefgh"))
    with pytest.raises(ActionRefused, match="used for another request"):
        actions.request_rollback(live, ask=ask(request_id="abcdefgh"))


def test_two_people_who_promote_end_one_step(live: Rollout, ask: Any, tick: Any) -> None:
    actions.request_promote(live, step=0, ask=ask())
    actions.request_promote(live, step=0, ask=ask(by=person("second", "operate_service")))
    tick()
    assert (fresh(live).step, fresh(live).stage) == (1, "hold")


def test_promoting_a_step_that_is_over_is_refused(live: Rollout, ask: Any, tick: Any) -> None:
    actions.request_promote(live, step=0, ask=ask())
    tick()
    with pytest.raises(ActionRefused, match="ended already"):
        actions.request_promote(live, step=0, ask=ask())


def test_pause_keeps_the_time_that_is_left(live: Rollout, ask: Any, tick: Any) -> None:
    tick(20)
    actions.request_pause(fresh(live), ask=ask())
    tick(500)
    assert fresh(live).left == pytest.approx(40)
    actions.request_resume(fresh(live), ask=ask())
    tick(39)
    assert fresh(live).step == 0
    tick(1)
    assert fresh(live).step == 1


def test_abort_keeps_the_tasks_until_someone_destroys_them(
    live: Rollout, version: Any, ask: Any, tick: Any
) -> None:
    actions.request_abort(live, ask=ask())
    tick()
    tick(100_000)
    assert version("1.0").count == 2
    actions.request_destroy(version("1.0"), ask=ask())
    tick()
    tick(60)
    tick()
    assert version("1.0").count == 0


def test_a_version_that_takes_requests_is_not_destroyed(
    live: Rollout, version: Any, ask: Any
) -> None:
    for label in ("0.9", "1.0"):
        with pytest.raises(ActionRefused, match="it stays"):
            actions.request_destroy(version(label), ask=ask())


def test_a_version_label_is_taken_once(service: Service, ask: Any) -> None:
    with pytest.raises(InvalidInput, match=r"has a version 1\.0 already") as refused:
        actions.add_version(service, label="1.0", command=["x"], environment={}, ask=ask())
    assert refused.value.field == "label"


@pytest.mark.parametrize("label", ["", "-x", "a b", "a\n", "../x", "‮0.1", "x" * 64])
def test_bad_labels_are_refused_by_name(service: Service, ask: Any, label: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        actions.add_version(service, label=label, command=["x"], environment={}, ask=ask())
    assert refused.value.field == "label"
    assert service.versions.count() == 3


def test_versions_are_numbered_and_digested(service: Service, ask: Any) -> None:
    one = actions.add_version(service, label="a", command=["x"], environment={}, ask=ask())
    two = actions.add_version(service, label="b", command=["x"], environment={"A": "1"}, ask=ask())
    assert (one.number, two.number) == (4, 5)
    assert one.digest != two.digest
    assert one.digest.startswith("sha256:")


def test_names_of_a_running_service_are_fixed(live: Rollout, ask: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        actions.change_service(live.service, {"name": "other.shop.local"}, ask=ask())
    assert refused.value.field == "name"


def test_a_change_is_recorded_with_before_and_after(service: Service, ask: Any) -> None:
    actions.change_service(service, {"tasks": 3}, ask=ask())
    event = Event.objects.filter(verb="change-service").get()
    assert (event.before, event.after) == ({"tasks": 2}, {"tasks": 3})


def test_unknown_settings_are_refused(service: Service, ask: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        actions.change_service(service, {"weights": {"1": 100}}, ask=ask())
    assert refused.value.field == "weights"


def test_a_stack_is_destroyed_by_typing_its_name(service: Service, ask: Any) -> None:
    stack = Stack.objects.create(mesh=service.mesh, name="shop", wanted="present", phase="ready")
    with pytest.raises(InvalidInput):
        actions.request_deprovision(stack, typed_name="shops", ask=ask())
    actions.request_deprovision(stack, typed_name="shop", ask=ask())
    stack.refresh_from_db()
    assert (stack.wanted, stack.attempt) == ("absent", 1)


def test_a_stack_with_a_live_rollout_is_not_destroyed(live: Rollout, ask: Any) -> None:
    stack = Stack.objects.create(
        mesh=live.service.mesh, name="shop", wanted="present", phase="ready"
    )
    with pytest.raises(ActionRefused, match="end it first"):
        actions.request_deprovision(stack, typed_name="shop", ask=ask())


def test_a_door_records_refusals(live: Rollout, ask: Any, viewer: Any) -> None:
    with pytest.raises(NotAllowed):
        doors.act(actions.request_rollback, live, ask=ask(by=viewer))
    event = Event.objects.first()
    assert event is not None
    assert (event.verb, event.actor, event.rollout_id) == ("refused", "viewer", live.pk)


def test_a_door_acts_before_it_answers(live: Rollout, ask: Any, world: Any, version: Any) -> None:
    doors.act(actions.request_rollback, live, ask=ask())
    assert world.weights[live.service_id].weights == {
        version("0.9").target: 100,
        version("1.0").target: 0,
    }
    assert fresh(live).phase == Phase.ROLLED_BACK
