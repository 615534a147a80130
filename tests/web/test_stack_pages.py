"""The page of a stack whose changes a person confirms: preview, apply, failures, drift, the end."""

from datetime import timedelta

import pytest
from django.utils import timezone

from rollouts.models import Event, Stack
from rollouts.stacks import base
from tests.web.aws_rows import change, event, failed, mesh_on_aws, proposed, there
from tests.web.world import person

pytestmark = pytest.mark.django_db
URL = "/infrastructure/echo/infra/"


@pytest.fixture
def mesh(monkeypatch):
    monkeypatch.setitem(base.REGISTRY, "cloudformation", "tests.web.aws_rows.LookingOn")
    return mesh_on_aws()


@pytest.fixture
def infra(mesh):
    return mesh.stacks.get(name="infra")


@pytest.fixture
def admin(client):
    client.force_login(person("admin"))
    return client


def html(client, url=URL):
    return client.get(url).content.decode()


def stack(name="infra"):
    return Stack.objects.get(name=name)


# --- preview


def test_a_stack_that_is_not_there_offers_a_preview_and_no_more(admin, infra):
    page = html(admin)
    assert "Preview infra" in page
    assert "Nothing is made yet" in page
    assert "Destroy" not in page


def test_the_preview_is_asked_for(admin, infra):
    assert admin.post(f"{URL}propose/").url == URL
    assert (stack().wanted, stack().attempt) == ("proposal", 1)


def test_a_later_stack_says_which_comes_first(admin, mesh):
    page = html(admin, "/infrastructure/echo/mesh/")
    assert "infra comes first:" in page
    assert "Preview mesh" not in page
    there(mesh, "infra")
    assert "Preview mesh" in html(admin, "/infrastructure/echo/mesh/")


def test_what_would_change_is_grouped_and_counted_what_hurts_first(admin, infra):
    proposed(
        infra,
        change("create", "Vpc"),
        change("create", "Nat"),
        change("change", "Logs", about="RetentionInDays"),
        change("change", "Cluster", replacement="perhaps"),
        change("replace", "SubnetA", replacement="yes", about="CidrBlock"),
        change("delete", "NatB"),
    )
    page = html(admin)
    counted = "replace 1, remove 1, perhaps replace 1, change 1, create 2"
    assert f"Awaiting your confirmation: {counted}" in page
    assert f"Apply: {counted}" in page
    assert page.index("Replaced") < page.index("Removed") < page.index("Created")
    assert "what it holds is lost" in page
    assert '<button class="btn danger" id="act-apply">' in page
    assert "About $57.30 a month" in page
    assert "about $32.85" in page


def test_words_of_cloudformation_itself_are_understood_too(admin, infra):
    proposed(
        infra,
        {"action": "Modify", "resource": "A", "kind": "K", "replacement": "True"},
        {"action": "Remove", "resource": "B", "kind": "K"},
        {"action": "Modify", "resource": "C", "kind": "K", "replacement": "Conditional"},
        {"action": "Add", "resource": "D", "kind": "K", "details": "x, y"},
    )
    groups = admin.get(URL).context["proposal"].groups
    assert [(g.kind, g.items[0].resource) for g in groups] == [
        *(("replace", "A"), ("remove", "B"), ("maybe", "C"), ("create", "D"))
    ]


def test_only_creating_is_not_red(admin, infra):
    proposed(infra, change("create", "Vpc"))
    assert '<button class="btn primary" id="act-apply">' in html(admin)


def test_applying_takes_the_change_set_that_was_seen(admin, infra):
    proposed(infra, change("create", "Vpc"))
    assert admin.post(f"{URL}apply/", {"change_set": "cs-1"}).url == URL
    assert (stack().wanted, stack().asked) == ("present", {"change_set": "cs-1"})


@pytest.mark.parametrize("seen", ["cs-0", "x" * 5000, "cs-1\x00"])
def test_changes_that_are_out_of_date_are_not_applied(admin, infra, seen):
    proposed(infra, change("create", "Vpc"))
    answer = admin.post(f"{URL}apply/", {"change_set": seen})
    assert answer.status_code == 409
    page = answer.content.decode()
    assert "These changes of infra are out of date" in page
    assert "infra is now: awaiting confirmation" in page
    assert 'value="cs-1"' in page
    assert stack().wanted == "proposal"


@pytest.mark.parametrize("seen", ["", "continue"])
def test_nothing_is_applied_unseen(admin, infra, seen):
    proposed(infra, change("create", "Vpc"))
    assert admin.post(f"{URL}apply/", {"change_set": seen}).status_code == 409
    assert stack().wanted == "proposal"


def test_changes_are_dropped(admin, infra):
    proposed(infra, change("create", "Vpc"))
    admin.post(f"{URL}discard/")
    assert (stack().wanted, stack().asked) == ("absent", {"discard": True})


def test_problems_stand_where_the_changes_would_and_nothing_can_be_applied(admin, infra):
    proposed(infra, change_set="", problems=["The mesh has no setting region."])
    page = html(admin)
    assert "This cannot be done yet" in page
    assert "The mesh has no setting region." in page
    assert "act-apply" not in page
    assert "Preview again" in page
    assert "/infrastructure/echo/edit/" in page


def test_nothing_to_do_is_said_as_such(admin, mesh):
    there(mesh, "infra")
    Stack.objects.filter(name="infra").update(wanted="proposal", proposal={"nothing": True})
    page = html(admin)
    assert "Nothing would change:" in page
    assert "requested, waiting for a worker" not in page


# --- events and failures


def test_a_failure_has_what_began_it_on_top(admin, infra):
    failed(infra, "ROLLBACK_COMPLETE", reason="The stack was rolled back.")
    event(infra, "Vpc", "CREATE_FAILED", "an older failure", ago_s=3600)
    event(infra, "NatA", "CREATE_FAILED", "The quota of addresses is reached.", ago_s=30)
    event(infra, "Other", "CREATE_FAILED", "Resource creation cancelled", ago_s=40)
    event(infra, "NatB", "DELETE_FAILED", "later", ago_s=10)
    page = html(admin)
    assert "<b>NatA: The quota of addresses is reached.</b>" in page
    assert "The stack was rolled back." in page


@pytest.mark.parametrize(
    ("status", "words", "button"),
    [
        ("ROLLBACK_COMPLETE", "what was made is gone again", "Create infra again"),
        ("UPDATE_ROLLBACK_COMPLETE", "the stack is as it was before", "Preview again"),
        ("UPDATE_ROLLBACK_FAILED", "it could not be undone", "Continue the rollback"),
        ("DELETE_FAILED", "Not everything could be removed", "Destroy infra"),
        ("CREATE_FAILED", "what was made is still there", "Destroy infra"),
        ("", "Vpc: limit reached", "Preview again"),
    ],
)
def test_each_failure_offers_its_way_out(admin, infra, status, words, button):
    failed(infra, status)
    page = html(admin)
    assert words in page
    assert button in page
    if status in ("DELETE_FAILED", "CREATE_FAILED", "UPDATE_ROLLBACK_FAILED"):
        assert "act-propose" not in page


def test_a_rollback_that_failed_is_continued(admin, infra):
    failed(infra, "UPDATE_ROLLBACK_FAILED")
    admin.post(f"{URL}continue/")
    assert stack().asked == {"change_set": "continue"}


def test_problems_filter_the_log(admin, infra):
    event(infra, "Vpc", "CREATE_COMPLETE")
    event(infra, "NatA", "CREATE_FAILED", "no")
    shown = admin.get(URL, {"show": "problems"}).context["events"]
    assert [row.resource for row in shown] == ["NatA"]


# --- drift


def test_drift_is_asked_for_and_awaited(admin, mesh):
    there(mesh, "infra")
    assert "Not compared yet" in html(admin)
    admin.post(f"{URL}drift/")
    assert stack().drift_requested_at is not None
    assert "Comparing" in html(admin)


@pytest.mark.parametrize(
    ("drift", "words"),
    [
        ({"status": "IN_SYNC", "resources": [], "problem": ""}, "In sync"),
        ({"problem": "AWS gives no reason."}, "AWS gives no reason."),
        (
            {"status": "IN_SYNC", "resources": [], "moved": [{"resource": "EchoServerRoute"}]},
            "meshui moves them itself: EchoServerRoute",
        ),
    ],
)
def test_the_answer_about_drift_is_said(admin, mesh, drift, words):
    there(mesh, "infra")
    now = timezone.now()
    Stack.objects.filter(name="infra").update(
        drift=drift, drift_at=now, drift_requested_at=now - timedelta(seconds=5)
    )
    assert words in html(admin)


def test_what_differs_is_listed_with_both_values(admin, mesh):
    there(mesh, "infra")
    difference = {"path": "/CidrIp", "expected": "10.0.0.0/16", "actual": "0.0.0.0/0"}
    resource = {"resource": "Group", "kind": "AWS::EC2::SecurityGroup", "status": "MODIFIED"}
    drift = {
        "status": "DRIFTED",
        "resources": [
            {**resource, "differences": [difference]},
            {"resource": "Vpc", "kind": "K", "status": "IN_SYNC", "differences": []},
            {"resource": "Nat", "kind": "K", "status": "DELETED", "differences": []},
        ],
    }
    Stack.objects.filter(name="infra").update(drift=drift, drift_at=timezone.now())
    page = html(admin)
    assert "2 differ" in page
    assert "/CidrIp" in page
    assert "10.0.0.0/16" in page
    assert "deleted" in page


def test_drift_of_what_is_not_there_is_refused(admin, infra):
    assert admin.post(f"{URL}drift/").status_code == 409


# --- the end


def test_destroying_says_what_is_lost_and_what_is_kept(admin, mesh):
    there(mesh, "infra")
    page = html(admin, f"{URL}delete/")
    assert "every image in them" in page
    assert "The log group stays" in page
    assert "echo-infra" in page
    assert admin.post(f"{URL}delete/", {"typed_name": "infra"}).url == URL
    assert stack().wanted == "absent"


def test_a_stack_that_another_needs_is_not_destroyed(admin, mesh):
    there(mesh, "infra", "mesh", "app")
    page = html(admin, f"{URL}delete/")
    assert "app needs infra: destroy app first." in page
    assert "typed_name" not in page
    assert admin.post(f"{URL}delete/", {"typed_name": "infra"}).status_code == 409
    assert stack().wanted == "present"


def test_what_could_not_be_removed_may_be_left_behind(admin, infra):
    survivor = {"resource": "Vpc", "kind": "AWS::EC2::VPC", "reason": "has dependencies"}
    failed(infra, "DELETE_FAILED", survivors=[survivor])
    assert "has dependencies" in html(admin)
    assert 'name="retain" value="Vpc"' in html(admin, f"{URL}delete/")
    wrong = admin.post(f"{URL}delete/", {"typed_name": "inf", "retain": ["Vpc"]})
    assert wrong.status_code == 422
    assert 'value="Vpc" checked' in wrong.content.decode()
    admin.post(f"{URL}delete/", {"typed_name": "infra", "retain": ["Vpc", "Everything"]})
    assert stack().asked == {"retain": ["Vpc"]}


# --- who may


@pytest.mark.parametrize("verb", ["propose", "apply", "discard", "drift", "continue"])
def test_a_viewer_presses_nothing(client, infra, verb):
    proposed(infra, change("create", "Vpc"))
    client.force_login(person("viewer"))
    page = html(client)
    assert "View only." in page
    assert "<button" not in page[page.index('id="state"') : page.index("</main>")]
    assert client.post(f"{URL}{verb}/", {"change_set": "cs-1"}).status_code == 403
    assert Event.objects.get().verb == "refused"
    assert stack().wanted == "proposal"


def test_an_unknown_verb_is_no_page(admin, infra):
    assert admin.post(f"{URL}explode/").status_code == 404
    assert admin.get(f"{URL}propose/").status_code == 405


def test_the_same_stack_name_in_two_meshes_is_told_apart(admin, mesh):
    there(mesh_on_aws("shop"), "infra")
    answer = admin.post(f"{URL}drift/")
    assert answer.status_code == 409
    assert "infra is not there." in answer.content.decode()
    assert URL in answer.content.decode()
