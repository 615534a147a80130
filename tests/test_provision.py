"""Stacks: steps, logs, failures, wishes that change under way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from rollouts import actions, provision
from rollouts.errors import ActionRefused, ProvisionerError
from rollouts.models import Event, Mesh, Service, Stack, StackEvent
from rollouts.stacks import base
from rollouts.stacks.base import Change, Line, Progress

STEPS = ("network", "proxy", "endpoint")


class FakeProvisioner:
    """Three resources, one a call; ``broken`` is the error of the second."""

    proposes = False
    broken: ProvisionerError | None = None

    def preview(self, stack: Stack) -> Sequence[Change]:
        return [Change("create", step, "Fake") for step in STEPS]

    def advance(self, stack: Stack) -> Progress:
        present = stack.wanted == Stack.PRESENT
        working, end = ("creating", "ready") if present else ("deleting", "absent")
        done = stack.done if stack.step.startswith(f"{working}-{stack.attempt}") else 0
        if done == 1 and self.broken is not None:
            raise self.broken
        line = Line(STEPS[done], "Fake", "CREATE_COMPLETE")
        phase = end if done + 1 == len(STEPS) else working
        outputs = {"endpoint": "http://127.0.0.1:1"} if phase == "ready" else {}
        step = f"{working}-{stack.attempt}:{done + 1}"
        endpoint = outputs.get("endpoint") if phase in ("ready", "absent") else None
        return Progress(
            phase, step, done + 1, len(STEPS), (line,), outputs, endpoint=endpoint or ""
        )


@pytest.fixture
def stack(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> Stack:
    monkeypatch.setitem(base.REGISTRY, "fake", f"{__name__}.FakeProvisioner")
    monkeypatch.setattr(FakeProvisioner, "broken", None)
    return Stack.objects.create(mesh=mesh, name="shop", kind="fake")


def test_a_wished_stack_becomes_ready_with_its_log(stack: Stack, ask: Any, clock: Any) -> None:
    actions.request_provision(stack, ask=ask())
    assert provision.tick_due(clock.moment) == 1
    stack.refresh_from_db()
    assert (stack.phase, stack.done, stack.total) == ("ready", 3, 3)
    resources = StackEvent.objects.order_by("id").values_list("resource", flat=True)
    assert tuple(resources) == STEPS
    stack.mesh.refresh_from_db()
    assert stack.mesh.public_url == "http://127.0.0.1:1"
    assert stack.wake_at is None


def test_a_passing_failure_is_tried_again(
    stack: Stack, ask: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeProvisioner, "broken", ProvisionerError("Nobody answers."))
    actions.request_provision(stack, ask=ask())
    provision.tick_due(clock.moment)
    stack.refresh_from_db()
    assert (stack.phase, stack.done, stack.reason) == ("creating", 1, "Nobody answers.")
    monkeypatch.setattr(FakeProvisioner, "broken", None)
    provision.tick_due(clock.pass_(1))
    stack.refresh_from_db()
    assert (stack.phase, stack.reason) == ("ready", "")


def test_a_lasting_failure_ends_in_failed_and_can_be_asked_for_again(
    stack: Stack, ask: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ProvisionerError("The port is taken.", permanent=True)
    monkeypatch.setattr(FakeProvisioner, "broken", broken)
    actions.request_provision(stack, ask=ask())
    provision.tick_due(clock.moment)
    stack.refresh_from_db()
    assert (stack.phase, stack.reason) == ("failed", "The port is taken.")
    assert Event.objects.filter(verb="stack-failed", severity="error").exists()
    monkeypatch.setattr(FakeProvisioner, "broken", None)
    actions.request_provision(stack, ask=ask())
    provision.tick_due(clock.moment)
    stack.refresh_from_db()
    assert stack.phase == "ready"


def test_a_ready_stack_is_not_made_again(stack: Stack, ask: Any, clock: Any) -> None:
    actions.request_provision(stack, ask=ask())
    provision.tick_due(clock.moment)
    with pytest.raises(ActionRefused, match="ready already"):
        actions.request_provision(stack, ask=ask())


def test_destroying_takes_the_endpoint_away(stack: Stack, ask: Any, clock: Any) -> None:
    actions.request_provision(stack, ask=ask())
    provision.tick_due(clock.moment)
    actions.request_deprovision(stack, typed_name="shop", ask=ask())
    provision.tick_due(clock.moment)
    stack.refresh_from_db()
    assert (stack.phase, stack.outputs) == ("absent", {})
    stack.mesh.refresh_from_db()
    assert stack.mesh.public_url == ""


def test_a_late_worker_does_not_write_over_a_newer_wish(stack: Stack, ask: Any, clock: Any) -> None:
    actions.request_provision(stack, ask=ask())
    late = Stack.objects.select_related("mesh").get(pk=stack.pk)
    progress = FakeProvisioner().advance(late)
    Stack.objects.filter(pk=stack.pk).update(attempt=2, wanted=Stack.ABSENT)
    assert provision._store(late, progress, clock.moment) is False
    assert not StackEvent.objects.exists()


def test_a_service_put_to_rest_says_so_with_its_weights(
    service: Service, version: Any, clock: Any
) -> None:
    old = version("0.9")
    Service.objects.filter(pk=service.pk).update(
        stable=old, weights={str(old.pk): 100}, generation=3
    )
    for _ in range(2):
        Service.objects.put_to_rest(service.pk, clock.moment.now)
    service.refresh_from_db()
    assert (service.stable, service.weights, service.generation) == (None, {}, 4)
    event = Event.objects.get(generation=4)
    assert (event.before, event.after) == ({str(old.pk): 100}, {})


def test_a_slow_tick_does_not_undo_what_a_quicker_one_stored(
    stack: Stack, ask: Any, clock: Any
) -> None:
    actions.request_provision(stack, ask=ask())
    slow = Stack.objects.select_related("mesh").get(pk=stack.pk)
    provision.tick_due(clock.moment)
    late = Progress("creating", "creating-1:1", 1, 3, (Line("late", "Fake", "CREATE_COMPLETE"),))
    assert not provision._store(slow, late, clock.moment)
    stack.refresh_from_db()
    assert stack.phase == "ready"
    assert not stack.events.filter(resource="late").exists()


def test_a_door_leaves_a_stack_alone_that_a_worker_is_ticking(
    stack: Stack, ask: Any, clock: Any
) -> None:
    actions.request_provision(stack, ask=ask())
    at = clock.moment
    assert Stack.objects.claim(stack.pk, at.now, clock.pass_(5).now)
    assert not provision.tick_wish(stack.pk, at)
    stack.refresh_from_db()
    assert stack.phase == "absent"


def test_a_failure_after_an_answered_question_for_drift_is_no_drift(
    stack: Stack, ask: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = clock.moment.now
    Stack.objects.filter(pk=stack.pk).update(
        phase="ready", wanted=Stack.PROPOSAL, drift_requested_at=at, drift_at=at, drift={"a": 1},
        wake_at=at,
    )  # fmt: skip
    broken = ProvisionerError("AWS does not allow it.", permanent=True)

    def advance(self: FakeProvisioner, stack: Stack) -> Progress:
        raise broken

    monkeypatch.setattr(FakeProvisioner, "advance", advance)
    provision.tick_due(clock.pass_(1))
    stack.refresh_from_db()
    assert (stack.phase, stack.reason, stack.drift) == ("failed", str(broken), {"a": 1})
