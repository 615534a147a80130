"""The provisioner against the fake AWS: from a proposal to nothing left."""

from __future__ import annotations

import pytest
from django.utils import timezone

from rollouts import actions, provision
from rollouts.errors import Stale
from rollouts.models import Mesh, Service, StackEvent
from rollouts.stacks.base import provisioner
from rollouts.stacks.cfn import STACK, Cloud, Happened


def uids(stack):
    return list(StackEvent.objects.filter(stack=stack).values_list("uid", flat=True))


# --- proposing


def test_infra_is_proposed_with_its_changes_and_its_cost(stacks, propose):
    infra = propose(stacks["infra"])
    assert infra.phase == "proposed", infra.reason
    proposal = infra.proposal
    assert (proposal["type"], proposal["problems"]) == ("CREATE", [])
    assert {each["action"] for each in proposal["changes"]} == {"create"}
    assert "Vpc" in {each["resource"] for each in proposal["changes"]}
    assert 30 < proposal["cost"]["total"] < 60


def test_a_proposal_makes_nothing(stacks, propose):
    stack = propose(stacks["infra"])
    assert Cloud(stack).resources() == []
    assert stack.outputs == {}


def test_a_stack_that_needs_another_says_which(stacks, propose):
    mesh = propose(stacks["mesh"])
    assert mesh.phase == "proposed"
    assert mesh.proposal["problems"] == ["The stack infra is needed first: it tells VpcId."]
    assert mesh.proposal["change_set"] == ""


def test_a_mesh_whose_service_name_is_taken_is_told_so(stacks, propose):
    other = Mesh.objects.create(slug="local", name="local")
    Service.objects.create(mesh=other, slug="echo-server", name="echo_server.echo.local")
    (problem,) = propose(stacks["infra"]).proposal["problems"]
    assert "in the mesh local" in problem


def test_a_mesh_without_a_region_cannot_be_provisioned(stacks, propose, mesh, settings):
    settings.AWS_DEFAULT_REGION = ""
    Mesh.objects.filter(pk=mesh.pk).update(settings={})
    infra = propose(stacks["infra"])
    assert (infra.phase, infra.reason) == ("failed", "The mesh names no AWS region.")


def test_what_cloudformation_refuses_is_a_failure_with_its_words(stacks, propose, mesh):
    mesh.settings["bastion"] = "ssh"
    mesh.save()
    infra = propose(stacks["infra"])
    told = infra.reason + " ".join(infra.proposal.get("problems", []))
    assert "Bastion ssh needs" in told or "SSH" in told
    assert infra.proposal.get("change_set", "") == ""


def test_a_change_set_whose_answer_was_lost_is_made_once(stacks, propose, cloud):
    cloud.inject("cloudformation", "CreateChangeSet", error="reset-after", times=1)
    infra = propose(stacks["infra"])
    assert infra.phase == "proposed"
    assert infra.proposal["change_set"]


def test_a_discarded_proposal_leaves_nothing(stacks, propose, walk, ask):
    infra = propose(stacks["infra"])
    actions.request_discard(infra, ask=ask())
    infra = walk(infra)
    assert (infra.phase, infra.proposal) == ("absent", {})
    assert Cloud(infra).there() is None


def test_a_new_proposal_replaces_the_old_one(stacks, propose, mesh, ask):
    first = propose(stacks["infra"]).proposal["change_set"]
    mesh.settings["nat"] = "none"
    mesh.save()
    infra = propose(stacks["infra"])
    assert infra.proposal["change_set"] != first
    assert Cloud(infra).change_set(first) is None
    with pytest.raises(Stale):
        actions.request_provision(infra, ask=ask(), change_set=first)


# --- creating


def test_a_confirmed_stack_is_made_with_its_log_and_outputs(stacks, provide):
    infra = provide(stacks["infra"])
    assert infra.phase == "ready", infra.reason
    assert infra.outputs["Namespace"] == "echo.local"
    assert infra.done == infra.total
    complete = StackEvent.objects.filter(stack=infra, status="CREATE_COMPLETE")
    assert complete.count() == infra.total + 1  # and the stack itself


def test_every_resource_carries_the_name_of_its_mesh(stacks, provide, cloud):
    infra = provide(stacks["infra"])
    assert Cloud(infra).there() is not None
    (made,) = [c for c in cloud.calls() if c["operation"] == "CreateChangeSet"]
    assert "meshui:mesh" in str(made["request"])


def test_events_come_as_they_happen_and_each_once(stacks, propose, ask, cloud, clock):
    infra = propose(stacks["infra"])
    cloud.speeds(stack=0.02)
    actions.request_provision(infra, ask=ask(), change_set=infra.proposal["change_set"])
    seen = set()
    while infra.phase != "ready":
        provision.tick(infra.pk, clock.pass_(2))
        infra.refresh_from_db()
        assert infra.phase in ("creating", "ready"), infra.reason
        seen.add(StackEvent.objects.filter(stack=infra).count())
    assert len(seen) > 3
    assert len(uids(infra)) == len(set(uids(infra)))


def test_an_execution_whose_answer_was_lost_happens_once(stacks, propose, walk, ask, cloud):
    infra = propose(stacks["infra"])
    cloud.inject("cloudformation", "ExecuteChangeSet", error="reset-after", times=3)
    actions.request_provision(infra, ask=ask(), change_set=infra.proposal["change_set"])
    infra = walk(infra)
    assert infra.phase == "ready", infra.reason
    begun = StackEvent.objects.filter(stack=infra, resource="echo-infra")
    assert begun.filter(status="CREATE_IN_PROGRESS").count() == 1


def test_a_worker_that_dies_anywhere_loses_nothing(stacks, propose, ask, clock):
    """Each step is done twice: once by a worker whose result is never stored."""
    infra = propose(stacks["infra"])
    actions.request_provision(infra, ask=ask(), change_set=infra.proposal["change_set"])
    for _ in range(100):
        infra.refresh_from_db()
        if infra.phase == "ready":
            break
        provisioner("cloudformation").advance(infra)
        infra.refresh_from_db()
        provision.tick(infra.pk, clock.pass_(2))
    assert infra.phase == "ready", infra.reason
    assert len(uids(infra)) == len(set(uids(infra)))


def test_throttling_only_delays(stacks, propose, walk, ask, cloud):
    infra = propose(stacks["infra"])
    cloud.inject("cloudformation", error="ThrottlingException", rate=0.3, seed=1)
    actions.request_provision(infra, ask=ask(), change_set=infra.proposal["change_set"])
    infra = walk(infra)
    assert infra.phase == "ready", infra.reason


def test_odd_answers_only_delay(stacks, propose, walk, ask, cloud):
    cloud.inject("cloudformation", error="500", rate=0.2, seed=2)
    cloud.inject("cloudformation", error="ExpiredTokenException", rate=0.1, seed=3)
    infra = propose(stacks["infra"])
    assert infra.phase == "proposed", infra.reason
    actions.request_provision(infra, ask=ask(), change_set=infra.proposal["change_set"])
    infra = walk(infra)
    assert infra.phase == "ready", infra.reason
    begun = StackEvent.objects.filter(stack=infra, resource="echo-infra")
    assert begun.filter(status="CREATE_IN_PROGRESS").count() == 1


def test_a_right_that_is_missing_is_named(stacks, propose, walk, ask, cloud):
    infra = propose(stacks["infra"])
    cloud.inject("cloudformation", "ExecuteChangeSet", error="AccessDeniedException")
    actions.request_provision(infra, ask=ask(), change_set=infra.proposal["change_set"])
    infra = walk(infra)
    assert infra.phase == "failed"
    assert "AWS does not allow cloudformation:ExecuteChangeSet" in infra.reason


def test_a_failure_tells_the_resource_that_began_it(stacks, provide, cloud):
    cloud.fail_resource("NatA", "The maximum number of NAT gateways has been reached.")
    infra = provide(stacks["infra"])
    assert infra.phase == "failed"
    assert infra.reason.startswith("NatA: The maximum number of NAT gateways has been reached.")
    assert infra.operation["status"] == "ROLLBACK_COMPLETE"
    assert infra.outputs == {}


def test_after_a_failed_creation_it_can_be_made(stacks, provide, cloud):
    cloud.fail_resource("NatA", "No.")
    assert provide(stacks["infra"]).phase == "failed"
    cloud.ask("fail-resource", {"logical_id": "NatA", "reason": None})
    infra = provide(stacks["infra"])
    assert infra.phase == "ready", infra.reason


def test_a_stack_as_it_should_be_has_nothing_to_do(stacks, provide, propose):
    infra = provide(stacks["infra"])
    infra = propose(infra)
    assert (infra.phase, infra.proposal) == ("ready", {"nothing": True})
    assert infra.outputs["Cluster"] == "echo"


def test_the_longest_status_fits_into_a_row():
    longest = "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"
    happened = Happened("1", timezone.now(), "echo-app", STACK, longest, "", of_stack=True)
    assert happened.line.status == "UPDATE_ROLLBACK_CLEANUP_IN_PROGRESS"
    assert not happened.ends


# --- updating


def test_an_update_shows_what_changes_and_does_it(stacks, provide, propose, walk, ask, mesh):
    infra = provide(stacks["infra"])
    mesh.settings["log_retention_days"] = 7
    mesh.save()
    infra = propose(infra)
    assert infra.proposal["type"] == "UPDATE"
    (change,) = infra.proposal["changes"]
    assert (change["action"], change["resource"]) == ("change", "LogGroup")
    actions.request_provision(infra, ask=ask(), change_set=infra.proposal["change_set"])
    infra = walk(infra)
    assert infra.phase == "ready", infra.reason
    assert infra.outputs["Cluster"] == "echo"


def test_a_failed_update_leaves_what_was_there(stacks, provide, mesh, cloud, propose):
    infra = provide(stacks["infra"])
    mesh.settings["log_retention_days"] = 7
    mesh.save()
    cloud.fail_resource("LogGroup", "Not now.")
    infra = provide(infra)
    assert (infra.phase, infra.operation["status"]) == ("failed", "UPDATE_ROLLBACK_COMPLETE")
    assert infra.reason.startswith("LogGroup: Not now.")
    assert infra.outputs["Cluster"] == "echo"
    assert propose(infra).phase == "proposed"


def test_a_rollback_that_failed_can_be_continued(stacks, provide, mesh, cloud, ask, walk, propose):
    infra = provide(stacks["infra"])
    mesh.settings |= {"log_retention_days": 7, "nat": "none"}
    mesh.save()
    cloud.fail_resource("EcrApiEndpoint", "No.")
    cloud.fail_resource("LogGroup:undo", "Not back.")
    infra = provide(infra)
    assert infra.operation["status"] == "UPDATE_ROLLBACK_FAILED", infra.reason
    infra = propose(infra)
    assert (infra.phase, infra.operation["status"]) == ("failed", "UPDATE_ROLLBACK_FAILED")
    cloud.ask("fail-resource", {"logical_id": "LogGroup:undo", "reason": None})
    actions.request_provision(infra, ask=ask(), change_set="continue")
    infra = walk(infra)
    assert infra.phase == "ready", infra.reason
