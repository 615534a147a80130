"""The provisioner against the fake AWS: from a proposal to nothing left."""

from __future__ import annotations

import pytest
from django.utils import timezone

from rollouts import actions, provision
from rollouts import aws as our_aws
from rollouts.errors import ActionRefused, Stale
from rollouts.models import Mesh, Service, Stack, StackEvent
from rollouts.stacks.base import provisioner
from rollouts.stacks.cfn import ORDER, STACK, Cloud, Happened


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


# --- all three


@pytest.fixture
def all_three(stacks, provide):
    for name in ORDER:
        made = provide(stacks[name])
        assert made.phase == "ready", made.reason
    return {each.name: each for each in Stack.objects.select_related("mesh")}


def test_a_mesh_comes_and_goes(all_three, destroy, mesh, cloud):
    mesh.refresh_from_db()
    assert mesh.public_url == all_three["app"].outputs["Endpoint"]
    service = Service.objects.get(slug="echo-echo-server")
    assert (service.name, service.protocol, service.mesh_id) == (
        "echo_server.echo.local", "grpc", mesh.pk,
    )  # fmt: skip
    for name in reversed(ORDER):
        gone = destroy(all_three[name])
        assert gone.phase == "absent", gone.reason
        assert (gone.outputs, gone.proposal) == ({}, {})
        assert Cloud(gone).there() is None
    mesh.refresh_from_db()
    assert mesh.public_url == ""
    assert set(cloud.leftovers()) == {"log-group"}


def test_images_are_found_in_the_repositories_and_named_by_digest(all_three):
    app = all_three["app"]
    made = Cloud(app)._call("describe_stacks", StackName="echo-app")["Stacks"][0]
    values = {p["ParameterKey"]: p["ParameterValue"] for p in made["Parameters"]}
    repository = all_three["infra"].outputs["EchoClientRepository"]
    assert values["EchoClientImage"].startswith(f"{repository}@sha256:")


def test_what_others_need_is_not_destroyed(all_three, ask, walk):
    infra = all_three["infra"]
    with pytest.raises(ActionRefused, match="app needs infra: destroy app first"):
        actions.request_deprovision(infra, typed_name="infra", ask=ask())
    Stack.objects.filter(pk=infra.pk).update(wanted="absent", attempt=infra.attempt + 1)
    infra = walk(infra, until="failed")
    assert infra.reason == "app needs infra: destroy app first."


def test_a_stack_waits_for_a_later_one_that_goes(all_three, clock):
    Stack.objects.update(wanted="absent")
    Stack.objects.filter(name="mesh").update(attempt=5)
    mesh = Stack.objects.get(name="mesh")
    provision.tick(mesh.pk, clock.pass_(2))
    mesh.refresh_from_db()
    assert mesh.phase == "deleting"
    assert mesh.reason == "Waiting for app to be destroyed, which needs mesh."


def test_an_app_waits_for_its_task_sets(all_three, ask, walk, clock, mesh):
    app = all_three["app"]
    cloud = Cloud(app)
    where = {"cluster": "echo", "service": "echo_server"}
    base = app.outputs["EchoServerTaskDefinition"]
    made = our_aws.call(cloud.account, "ecs", "create_task_set", taskDefinition=base,
                        scale={"value": 0, "unit": "PERCENT"}, **where)  # fmt: skip
    actions.request_deprovision(app, typed_name="app", ask=ask())
    for _ in range(5):
        provision.tick(app.pk, clock.pass_(2))
    app.refresh_from_db()
    assert (app.phase, app.reason) == ("deleting", "1 task set is being deleted.")
    our_aws.call(cloud.account, "ecs", "delete_task_set", **where,
             taskSet=made["taskSet"]["id"], force=True)  # fmt: skip
    assert walk(app).phase == "absent"


def test_an_app_waits_for_the_target_groups_of_versions(all_three, ask, walk, clock):
    app = all_three["app"]
    account = Cloud(app).account
    made = our_aws.call(account, "elbv2", "create_target_group", Name="echo-v7", Protocol="HTTP",
                        Port=50051, VpcId=all_three["infra"].outputs["VpcId"])  # fmt: skip
    Service.objects.update(wake_at=None)
    actions.request_deprovision(app, typed_name="app", ask=ask())
    provision.tick(app.pk, clock.pass_(2))
    app.refresh_from_db()
    assert (app.phase, app.reason) == ("deleting", "1 target group is being deleted.")
    assert Service.objects.get().wake_at is not None
    arn = made["TargetGroups"][0]["TargetGroupArn"]
    our_aws.call(account, "elbv2", "delete_target_group", TargetGroupArn=arn)
    assert walk(app).phase == "absent"


# --- destroying


def test_the_longest_status_fits_into_a_row():
    longest = "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"
    happened = Happened("1", timezone.now(), "echo-app", STACK, longest, "", of_stack=True)
    assert happened.line.status == "UPDATE_ROLLBACK_CLEANUP_IN_PROGRESS"
    assert not happened.ends


def test_what_cannot_be_deleted_is_listed_and_may_stay(stacks, provide, destroy, cloud):
    infra = provide(stacks["infra"])
    cloud.fail_resource("Namespace:delete", "It still has services.")
    infra = destroy(infra)
    assert (infra.phase, infra.operation["status"]) == ("failed", "DELETE_FAILED")
    assert "Namespace: It still has services." in infra.reason
    assert [each["resource"] for each in infra.operation["survivors"]] == ["Namespace"]
    infra = destroy(infra, retain=["Namespace"])
    assert infra.phase == "absent", infra.reason


def test_a_production_mesh_is_protected_until_its_destruction_is_confirmed(
    stacks, provide, destroy, mesh
):
    Mesh.objects.filter(pk=mesh.pk).update(production=True)
    infra = provide(stacks["infra"])
    there = Cloud(infra).there()
    assert there is not None
    assert there.protected
    infra = destroy(infra)
    assert infra.phase == "absent", infra.reason


def test_a_stack_that_was_deleted_elsewhere_is_absent(stacks, provide, destroy):
    infra = provide(stacks["infra"])
    there = Cloud(infra).there()
    assert there is not None
    Cloud(infra).delete(there.id, "elsewhere")
    infra = destroy(infra)
    assert infra.phase == "absent", infra.reason


def test_a_deletion_whose_answer_was_lost_is_watched(stacks, provide, destroy, cloud):
    infra = provide(stacks["infra"])
    cloud.inject("cloudformation", "DeleteStack", error="reset-after", times=3)
    infra = destroy(infra)
    assert infra.phase == "absent", infra.reason


# --- drift


@pytest.fixture
def drift(ask, walk):
    def run(stack):
        actions.request_drift(stack, ask=ask())
        stack = walk(stack)
        assert stack.phase == "ready"
        return stack.drift

    return run


def test_a_stack_as_its_template_has_not_drifted(stacks, provide, drift):
    found = drift(provide(stacks["infra"]))
    assert (found["status"], found["resources"]) == ("IN_SYNC", [])


def test_what_somebody_changed_is_named(stacks, provide, drift):
    infra = provide(stacks["infra"])
    our_aws.call(Cloud(infra).account, "logs", "put_retention_policy",
             logGroupName=infra.outputs["LogGroup"], retentionInDays=1)  # fmt: skip
    found = drift(infra)
    assert found["status"] == "DRIFTED"
    (resource,) = found["resources"]
    assert resource["resource"] == "LogGroup"
    assert resource["differences"][0]["actual"] == "1"


def test_weights_that_meshui_moved_are_no_drift(all_three, drift):
    mesh = all_three["mesh"]
    rule, spare = (mesh.outputs[f"EchoServer{n}"] for n in ("ListenerRule", "SpareTargetGroup"))
    action = {"Type": "forward", "ForwardConfig": {
        "TargetGroups": [{"TargetGroupArn": spare, "Weight": 7}]}}  # fmt: skip
    our_aws.call(Cloud(mesh).account, "elbv2", "modify_rule", RuleArn=rule, Actions=[action])
    found = drift(mesh)
    assert (found["status"], found["resources"]) == ("IN_SYNC", [])
    assert [each["resource"] for each in found["moved"]] == ["EchoServerListenerRule"]
