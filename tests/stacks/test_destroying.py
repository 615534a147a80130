"""The provisioner against the fake AWS: all three stacks, their end, and drift."""

from __future__ import annotations

import pytest

from rollouts import actions, provision
from rollouts import aws as our_aws
from rollouts.errors import ActionRefused
from rollouts.models import Mesh, Service, Stack
from rollouts.stacks.cfn import ORDER, Cloud


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
