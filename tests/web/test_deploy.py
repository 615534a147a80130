"""The deploy form and its preview."""

import pytest

from rollouts.domain.plan import PRESETS, from_json
from rollouts.models import Rollout
from tests.web.world import build_world, person

pytestmark = pytest.mark.django_db
URL = "/services/echo-server/deploy/"
CHOICE = {"version": "2", "strategy": "half"}


@pytest.fixture
def world():
    return build_world()


@pytest.fixture
def operator(client):
    client.force_login(person("operator"))
    return client


def test_it_offers_the_newest_version_that_does_not_run(operator, world):
    page = operator.get(URL)
    assert page.context["chosen"] == world.new
    assert "Deploy 1.0" in page.content.decode()


def test_the_plan_on_the_page_is_the_plan_that_runs(operator, world):
    choice = {"version": "2", "strategy": "custom", "steps": "10:30s, 60:approval, 100"}
    preview = operator.get(f"{URL}plan/", choice)
    names = [row.name for row in preview.context["preview"].rows]
    assert operator.post(URL, choice).status_code == 302
    ran = from_json(Rollout.objects.get().plan)
    assert [f"Shift to {step.weight} %" for step in ran] == [n for n in names if "Shift" in n]
    assert [step.hold_s for step in ran] == [30, 0, 0]
    assert names.count("Bake") == 1
    assert names.count("Wait for approval") == 1


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_runs_as_it_is_written(operator, world, preset):
    operator.post(URL, {"version": "2", "strategy": preset})
    rollout = Rollout.objects.get()
    assert (from_json(rollout.plan), rollout.plan_name) == (
        PRESETS[preset].steps,
        PRESETS[preset].name,
    )


def test_the_preview_button_starts_nothing(operator, world):
    page = operator.post(URL, CHOICE | {"preview": "1"})
    assert page.status_code == 200
    assert not Rollout.objects.exists()


def test_the_same_form_sent_twice_starts_one_rollout(operator, world):
    first, second = (operator.post(URL, CHOICE | {"request_id": "a" * 32}) for _ in range(2))
    assert first.url == second.url
    assert Rollout.objects.count() == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("version", v) for v in ("", "1", "99", "-1", "x", "\u0662", "9" * 100)),
        *(("strategy", v) for v in ("", "nonsense", "half\x00")),
        *(("reason", v) for v in ("x" * 301, "a\nb", "a\u202eb")),
        *(("request_id", v) for v in ("x", "a b c d e f", "x" * 65)),
    ],
)
def test_a_wrong_field_is_named_and_starts_nothing(operator, world, field, value):
    page = operator.post(URL, CHOICE | {field: value})
    assert page.status_code == 422
    assert "Nothing was changed" in page.content.decode()
    assert not Rollout.objects.exists()


def test_a_running_rollout_replaces_the_form(operator, world):
    rollout = world.rollout()
    html = operator.get(URL).content.decode()
    assert f"Open rollout #{rollout.pk}" in html
    assert 'name="strategy"' not in html
    assert operator.post(URL, CHOICE).status_code == 409


def test_it_says_that_automatic_deploys_are_off(operator, world):
    world.service.automatic_deploys = False
    world.service.automatic_why = "Rolled back by operator."
    world.service.save()
    assert "Rolled back by operator." in operator.get(URL).content.decode()


def test_a_service_without_versions_leads_to_the_form_for_one(operator, world):
    world.service.stable = None
    world.service.save()
    world.service.versions.all().delete()
    assert "/services/echo-server/versions/add/" in operator.get(URL).content.decode()


def test_the_first_version_gets_all_requests_at_once(operator, world):
    world.service.stable, world.service.weights = None, {}
    world.service.save()
    assert 'name="strategy"' not in operator.get(URL).content.decode()
    operator.post(URL, {"version": "2"})
    assert Rollout.objects.get().plan_name == "First deploy"


def test_a_viewer_reads_whom_to_ask_and_is_refused(client, world):
    person("operator")
    client.force_login(person("viewer"))
    html = client.get(URL).content.decode()
    assert "<b>operator</b>" in html
    assert 'id="go"' not in html
    assert client.post(URL, CHOICE).status_code == 403
    assert not Rollout.objects.exists()


def test_a_search_narrows_the_list_of_many_versions(operator, world):
    for number in range(3, 15):
        world.service.versions.create(number=number, label=f"2.{number}", digest="sha256:1")
    page = operator.get(URL, {"q": "2.1"})
    assert [c.version.label for c in page.context["choices"]] == [
        f"2.{n}" for n in (14, 13, 12, 11, 10)
    ]
