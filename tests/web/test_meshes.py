"""Adding, changing and forgetting a mesh on AWS: what the form takes, and what it says."""

import re
from pathlib import Path

import pytest
from django.conf import settings as django_settings

from rollouts.models import Event, Mesh, Stack
from rollouts.web.forms_mesh import LATER, PARAMETERS, MeshForm
from rollouts.web.meshes import follow
from tests.web.aws_rows import CERTIFICATE, FORM, IMAGE, mesh_on_aws, there
from tests.web.world import person

pytestmark = pytest.mark.django_db
ADD = "/infrastructure/add/"
EDIT = "/infrastructure/echo/edit/"
DELETE = "/infrastructure/echo/delete/"
SSH = {"bastion": "ssh", "key_pair": "ops", "bastion_cidr": "203.0.113.7/32"}


@pytest.fixture
def admin(client):
    client.force_login(person("admin"))
    return client


def errors(**changed):
    return set(MeshForm(None, FORM | changed).errors)


def test_a_mesh_is_registered_with_its_three_stacks_and_nothing_else(admin):
    answer = admin.post(ADD, FORM, follow=True)
    assert answer.redirect_chain == [("/infrastructure/#mesh-echo", 302)]
    mesh = Mesh.objects.get()
    assert (mesh.platform, mesh.router, mesh.settings["region"]) == ("ecs", "envoy", "eu-central-1")
    assert mesh.settings["egress"] == "127.0.0.1:15001"
    assert mesh.settings["log_retention_days"] == 30
    assert "role_arn" not in mesh.settings
    assert set(Stack.objects.values_list("name", "phase", "kind")) == {
        (name, "absent", "cloudformation") for name in ("infra", "mesh", "app")
    }
    assert "Nothing is made on AWS yet" in answer.content.decode()


def test_the_same_form_sent_twice_registers_once(admin):
    sent = FORM | {"request_id": "a" * 32}
    admin.post(ADD, sent)
    assert admin.post(ADD, sent).status_code in (302, 422)
    assert Mesh.objects.count() == 1


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        *[("slug", slug) for slug in ("", "e", "-echo", "echo-", "Echo", "é", "a" * 21, "add")],
        *[("slug", slug) for slug in ("a--b", "internal-x", "ec\nho", "\u0661cho", "../..")],
        *[("region", region) for region in ("", "frankfurt", "EU-central-1", "eu-central-", "*")],
        *[("role_arn", arn) for arn in ("meshui", "arn:aws:iam::1:role/x", "arn:aws:iam::*:role")],
        *[("nat", nat) for nat in ("", "two", "per_az")],
        *[("router", router) for router in ("", "local", "nginx")],
        *[("ingress_cidr", cidr) for cidr in ("", "everybody", "10.0.0.1/8", "::/0", "10.0.0.0")],
        *[("ingress_cidr", cidr) for cidr in ("256.0.0.0/8", "10.0.0.0/33", "10.0.0.0/255.0.0.0")],
        *[("control_plane", to) for to in ("", "meshui", "meshui:0", "meshui:65536", "a b:1")],
        *[("control_plane", to) for to in ("127.0.0.1:18000", "localhost:18000", "http://x:80")],
        *[("envoy_image", image) for image in ("a b", "envoy@sha256:abc", "x/../y@" + "0" * 64)],
        *[("certificate_arn", arn) for arn in ("x", "arn:aws:acm:eu-central-1:1:certificate/1")],
        ("certificate_arn", CERTIFICATE.replace("eu-central-1", "us-east-1")),
        *[("log_retention_days", days) for days in ("", "2", "30.0", "forever")],
        *[("echo_client_count", count) for count in ("", "0", "21", "1e1")],
        *[("access_logs_bucket", name) for name in ("A", "-logs", "s3://logs")],
        *[("public_host", host) for host in ("https://echo", "e cho", "-echo")],
        *[("name", name) for name in ("", "a\x00b", "a\u202eb", "x" * 81)],
    ],
)
def test_it_refuses_a_value_and_names_its_field(field, wrong):
    assert field in errors(**{field: wrong})


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"router": "alb"}, "certificate_arn"),
        (SSH | {"bastion_cidr": ""}, "bastion_cidr"),
        (SSH | {"bastion_cidr": "0.0.0.0/0"}, "bastion_cidr"),
        (SSH | {"bastion_cidr": "128.0.0.0/1"}, "bastion_cidr"),
        (SSH | {"key_pair": ""}, "key_pair"),
        ({"external_id": "shared-word"}, "role_arn"),
    ],
)
def test_one_choice_asks_for_another_field(changed, field):
    assert errors(**changed) == {field}


@pytest.mark.parametrize(
    "changed",
    [
        {"router": "alb", "certificate_arn": CERTIFICATE, "control_plane": ""},
        {"router": "appmesh", "control_plane": ""},
        SSH,
        {"bastion": "ssm"},
        {"envoy_image": "v1.40.0", "echo_client_image": IMAGE},
        {"role_arn": "arn:aws:iam::123456789012:role/ops/meshui", "external_id": "shared-word"},
        {"ingress_cidr": "203.0.113.0/24", "deletion_protection": "on"},
    ],
)
def test_it_takes_what_fits_together(changed):
    assert not errors(**changed)


def test_loopback_reaches_the_control_plane_of_a_fake_aws(settings):
    settings.AWS_FAKE = True
    assert not errors(control_plane="127.0.0.1:18000")


def test_a_range_with_host_bits_is_answered_with_the_range_that_was_meant():
    form = MeshForm(None, FORM | {"ingress_cidr": "10.0.0.1/8"})
    assert form.errors["ingress_cidr"] == ["The range that contains this is 10.0.0.0/8."]


def test_a_taken_name_is_refused(admin):
    mesh_on_aws()
    answer = admin.post(ADD, FORM)
    assert answer.status_code == 422
    assert "There is a mesh echo already." in answer.content.decode()


def test_app_mesh_comes_with_the_notice_that_it_has_ended(admin):
    html = admin.get(ADD).content.decode()
    assert "AWS ended it on 2026-09-30" in html
    assert "Envoy, recommended" in html


def test_settings_change_before_any_stack_is_there(admin):
    mesh_on_aws()
    sent = FORM | {"router": "appmesh", "nat": "none", "control_plane": ""}
    assert admin.post(EDIT, sent).url == "/infrastructure/#mesh-echo"
    mesh = Mesh.objects.get()
    assert (mesh.router, mesh.settings["nat"]) == ("appmesh", "none")
    assert "control_plane" not in mesh.settings
    assert mesh.settings["egress"] == "127.0.0.1:15001"


def test_a_change_says_which_stacks_still_have_the_old_settings(admin):
    there(mesh_on_aws(), "infra", "mesh", "app")
    answer = admin.post(EDIT, FORM | {"nat": "per-az", "ingress_cidr": "10.0.0.0/8"}, follow=True)
    sentence = "infra and app still have the old settings: work out their changes and apply them."
    assert sentence in answer.content.decode()
    assert Mesh.objects.get().settings["nat"] == "per-az"


def test_a_stack_that_is_not_there_need_not_be_updated(admin):
    there(mesh_on_aws(), "infra")
    answer = admin.post(EDIT, FORM | {"ingress_cidr": "10.0.0.0/8"}, follow=True)
    assert "still has" not in answer.content.decode()


def test_router_and_region_stay_while_stacks_are_there(admin):
    there(mesh_on_aws(), "infra")
    html = admin.get(EDIT).content.decode()
    assert 'name="router"' not in html
    assert "If you change this: update infra." in html
    answer = admin.post(EDIT, FORM | {"region": "us-east-1", "router": "appmesh"})
    assert "The stacks are in eu-central-1: destroy them first." in answer.content.decode()
    assert Mesh.objects.get().router == "envoy"


def test_names_of_stacks_are_joined_as_people_do():
    assert follow(["infra"]).startswith("infra still has the old settings")
    assert follow(["infra", "mesh", "app"]).startswith("infra, mesh and app still have")


@pytest.mark.parametrize("stack", PARAMETERS)
def test_every_setting_is_a_parameter_of_the_template(stack):
    text = (Path(django_settings.BASE_DIR) / f"templates/cloudformation/{stack}.yaml").read_text()
    for name in PARAMETERS[stack]:
        parameter = "".join(word.capitalize() for word in name.split("_"))
        assert re.search(rf"^  {parameter}:$", text, re.M), parameter


def test_every_field_is_shown_once():
    form = MeshForm(None)
    shown = [field.name for _, _, entries in form.groups() for field, _, _ in entries]
    assert sorted([*shown, *LATER]) == sorted(form.fields)


def test_a_mesh_is_forgotten_by_its_name(admin):
    mesh_on_aws()
    assert admin.post(DELETE, {"typed_name": "Echo"}).status_code == 422
    assert admin.post(DELETE, {"typed_name": "echo"}).url == "/infrastructure/"
    assert not Mesh.objects.exists()


def test_a_mesh_with_stacks_is_not_forgotten(admin):
    there(mesh_on_aws(), "infra", "app")
    assert "are still there: destroy them first" in admin.get(DELETE).content.decode()
    assert admin.post(DELETE, {"typed_name": "echo"}).status_code == 409
    assert Mesh.objects.exists()


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_without_the_permission_nothing_is_added_changed_or_forgotten(client, role):
    mesh_on_aws()
    client.force_login(person(role))
    refused = client.get(ADD)
    assert refused.status_code == 403
    assert 'href="/infrastructure/">Look again' in refused.content.decode()
    assert client.get(EDIT).status_code == 403
    assert "You may look but not do this" in client.get(DELETE).content.decode()
    for url, sent in (
        (ADD, FORM | {"slug": "shop"}),
        (EDIT, FORM | {"nat": "none"}),
        (DELETE, {"typed_name": "echo"}),
    ):
        assert client.post(url, sent).status_code == 403
    assert Mesh.objects.get().settings["nat"] == "one"
    assert Event.objects.filter(verb="refused").count() == 3


@pytest.mark.parametrize("url", ["/infrastructure/local/edit/", "/infrastructure/local/delete/"])
def test_the_local_mesh_has_no_settings_here(admin, url):
    Mesh.objects.create(slug="local", name="Local")
    assert admin.get(url).status_code == 404
