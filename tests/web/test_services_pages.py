"""The pages of a service: who may see and do what, and what a wrong form leaves behind."""

import pytest
from django.test import Client

from rollouts.models import Event, Rollout, Service, Version
from tests.web.test_forms import service_fields
from tests.web.world import ROLES, build_world, person

pytestmark = pytest.mark.django_db
BUILD = {"label": "1.1", "command": "{python} -m echo_services.server"}
PAGES = {
    "/services/echo-server/": (302, 200, 200, 200),
    "/services/echo-server/deploy/": (302, 200, 200, 200),
    "/services/echo-server/deploy/plan/?version=2&strategy=half": (302, 200, 200, 200),
    "/services/echo-server/automatic/": (302, 200, 200, 200),
    "/services/echo-server/versions/2/return/": (302, 200, 200, 200),
    "/services/echo-server/versions/2/destroy/": (302, 200, 200, 200),
    "/services/echo-server/versions/add/": (302, 403, 200, 200),
    "/services/echo-server/edit/": (302, 403, 200, 200),
    "/services/add/": (302, 403, 200, 200),
    "/infrastructure/": (302, 200, 200, 200),
    "/infrastructure/local/local/": (302, 200, 200, 200),
    "/infrastructure/local/local/delete/": (302, 200, 200, 200),
}
ACTS = {
    "/services/echo-server/automatic/": {"on": "0"},
    "/services/echo-server/versions/2/return/": {},
    "/services/echo-server/versions/add/": BUILD,
}


@pytest.fixture
def world():
    return build_world()


@pytest.fixture
def operator(client):
    client.force_login(person("operator"))
    return client


@pytest.mark.parametrize("url", PAGES)
@pytest.mark.parametrize(("number", "role"), list(enumerate(ROLES)))
def test_each_role_sees_its_pages(client, world, url, number, role):
    if role != "anonymous":
        client.force_login(person(role))
    assert client.get(url).status_code == PAGES[url][number]


@pytest.mark.parametrize("url", PAGES)
@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_no_page_takes_another_method(operator, world, url, method):
    assert getattr(operator, method)(url).status_code == 405


@pytest.mark.parametrize("url", ACTS)
def test_a_viewer_changes_nothing_and_the_attempt_is_recorded(client, world, url):
    client.force_login(person("viewer"))
    assert client.post(url, ACTS[url]).status_code == 403
    assert Event.objects.get().verb == "refused"
    assert Service.objects.get().automatic_deploys
    assert Version.objects.count() == 2


@pytest.mark.parametrize("url", ACTS)
def test_a_post_without_its_token_is_refused(world, url):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(person("operator"))
    assert strict.post(url, ACTS[url]).status_code == 403


def test_a_new_service_comes_with_its_first_version(operator, world):
    sent = service_fields(mesh=world.mesh.pk) | BUILD | {"request_id": "b" * 32}
    answer = operator.post("/services/add/", sent)
    assert answer.url == "/services/shop/deploy/"
    assert [v.label for v in Service.objects.get(slug="shop").versions.all()] == ["1.1"]
    assert operator.post("/services/add/", sent).status_code in (302, 422)
    assert Service.objects.count() == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [("label", "--help"), ("command", ""), ("slug", "../.."), ("name", "echo_server.echo.local")],
)
def test_a_wrong_field_leaves_no_half_service(operator, world, field, value):
    sent = service_fields(mesh=world.mesh.pk) | BUILD | {field: value}
    page = operator.post("/services/add/", sent)
    assert page.status_code == 422
    assert "Nothing was changed" in page.content.decode()
    assert Service.objects.count() == 1


def test_a_version_is_added_and_offered(operator, world):
    answer = operator.post("/services/echo-server/versions/add/", BUILD)
    assert answer.url == "/services/echo-server/deploy/?version=3"
    assert operator.get(answer.url).context["chosen"].label == "1.1"


def test_settings_change_only_what_was_changed(operator, world):
    form = operator.get("/services/echo-server/edit/").context["form"]
    sent = {name: value for name, value in form.initial.items() if value not in (None, False)}
    assert operator.post("/services/echo-server/edit/", sent | {"tasks": "3"}).status_code == 302
    assert Event.objects.get(verb="change-service").after == {"tasks": 3}


def test_an_unknown_verb_is_not_found(operator, world):
    assert operator.get("/services/echo-server/versions/2/erase/").status_code == 404


@pytest.mark.parametrize("on", ["", "2", "yes"])
def test_the_switch_takes_0_and_1_only(operator, world, on):
    assert operator.post("/services/echo-server/automatic/", {"on": on}).status_code == 422


def test_the_switch_turns_automatic_deploys_off(operator, world):
    assert operator.post("/services/echo-server/automatic/", {"on": "0"}).status_code == 302
    assert not Service.objects.get().automatic_deploys


def test_rolling_back_to_a_version_is_one_rollout_of_its_own(operator, world):
    answer = operator.post("/services/echo-server/versions/2/return/", {"reason": "1.1 is slow"})
    rollout = Rollout.objects.get()
    assert answer.url == f"/rollouts/{rollout.pk}/"
    assert rollout.kind == "rollback"


def test_a_dialog_gets_the_question_only(operator, world):
    part = operator.get("/services/echo-server/versions/2/return/", headers={"HX-Request": "true"})
    html = part.content.decode()
    assert "Roll back echo-server to 1.0?" in html
    assert "<html" not in html


def test_the_page_reads_a_fixed_number_of_rows(operator, world, django_assert_max_num_queries):
    for number in range(3, 30):
        world.service.versions.create(number=number, label=f"2.{number}", digest="sha256:1")
    with django_assert_max_num_queries(18):
        operator.get("/services/echo-server/")


def test_the_add_form_starts_with_what_most_services_use(operator, world):
    page = operator.get("/services/add/")
    shown = {field.name: field.value() for field in page.context["form"]}
    assert (shown["tasks"], shown["timeout_s"], shown["default_plan"]) == (2, 5.0, "half")
    assert all(shown[name] not in (None, "") for name in ("drain_s", "keep_warm", "sample_rate"))
    assert shown["mesh"] == world.mesh.pk
