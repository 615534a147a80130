"""Infrastructure and stack pages."""

from datetime import timedelta

import pytest
from django.utils import timezone

from rollouts.models import Heartbeat, Stack, StackEvent
from tests.web.world import build_world, person

pytestmark = pytest.mark.django_db
URL = "/infrastructure/local/local/"


@pytest.fixture
def world():
    return build_world()


@pytest.fixture
def admin(client):
    client.force_login(person("admin"))
    return client


def test_it_counts_the_resources_that_are_there(admin, world):
    Stack.objects.update(phase="creating", done=3, total=7, requested_at=timezone.now())
    html = admin.get(URL).content.decode()
    assert "Creating, 3 of 7 resources" in html
    assert '<progress class="wide" max="7" value="3"' in html


def test_problems_are_the_failed_events(admin, world):
    for status in ("create_complete", "create_failed"):
        StackEvent.objects.create(
            stack=world.stack, at=timezone.now(), resource=status, kind="proxy", status=status
        )
    assert len(admin.get(URL).context["events"]) == 2
    assert [e.status for e in admin.get(URL, {"show": "problems"}).context["events"]] == [
        "create_failed"
    ]


def test_a_failed_stack_says_why_on_top(admin, world):
    Stack.objects.update(phase="failed", reason="Port 8080 is taken.")
    assert "Port 8080 is taken." in admin.get(URL).content.decode()


def test_a_silent_part_is_named_with_its_silence(admin, world):
    Heartbeat.objects.create(name="worker", at=timezone.now() - timedelta(seconds=42))
    assert "not answering for 42 s" in admin.get("/infrastructure/").content.decode()


def test_a_part_that_answers_is_well(admin, world):
    Heartbeat.objects.create(name="worker", at=timezone.now())
    assert admin.get("/infrastructure/").context["parts"][0].ok


def test_a_proxy_that_lags_is_shown_behind(admin, world):
    proxy = world.mesh.proxies.create(node="envoy-1", connected=True)
    html = admin.get("/infrastructure/").content.decode()
    assert "<b>behind</b>" in html
    proxy.acknowledgements.create(service=world.service, generation=1, at=timezone.now())
    assert "<b>behind</b>" not in admin.get("/infrastructure/").content.decode()


@pytest.mark.parametrize("typed", ["", "Local", "local ", "x" * 1000, "local\x00"])
def test_destroying_needs_the_exact_name(admin, world, typed):
    Stack.objects.update(phase="ready", wanted="present")
    assert admin.post(f"{URL}delete/", {"typed_name": typed}).status_code in (409, 422)
    assert Stack.objects.get().wanted == "present"


@pytest.mark.parametrize("verb", ["create", "delete"])
def test_an_operator_may_not_create_or_destroy(client, world, verb):
    client.force_login(person("operator"))
    assert client.post(f"{URL}{verb}/", {"typed_name": "local"}).status_code == 403
    assert Stack.objects.get().wanted == "present"


def test_the_list_reads_a_fixed_number_of_rows(admin, world, django_assert_max_num_queries):
    for number in range(20):
        world.mesh.proxies.create(node=f"envoy-{number}")
    with django_assert_max_num_queries(12):
        admin.get("/infrastructure/")
