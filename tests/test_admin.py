"""The admin: what machines wrote is read-only, the rollback asks through the same door."""

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.utils import timezone

from rollouts.models import Event, Service
from tests.web.world import build_world, person

pytestmark = pytest.mark.django_db
MACHINE = (
    *("event", "route", "sample", "trafficbucket", "steprecord", "acknowledgement"),
    *("proxy", "task", "heartbeat", "stackevent", "rollout", "version"),
)


@pytest.fixture
def world():
    return build_world()


@pytest.fixture
def boss(client):
    client.force_login(person("admin"))
    return client


def test_every_model_is_there():
    assert all(admin.site.is_registered(m) for m in apps.get_app_config("rollouts").get_models())


@pytest.mark.parametrize(
    "model", [m.__name__.lower() for m in apps.get_app_config("rollouts").get_models()]
)
def test_every_list_opens(boss, world, model):
    world.rollout()
    assert boss.get(f"/admin/rollouts/{model}/?q=x").status_code in (200, 302)
    assert boss.get(f"/admin/rollouts/{model}/").status_code == 200


@pytest.mark.parametrize("model", MACHINE)
def test_what_machines_write_is_not_added_by_people(boss, world, model):
    assert boss.get(f"/admin/rollouts/{model}/add/").status_code == 403


def test_a_rollback_in_the_admin_is_the_one_of_the_dashboard(boss, world):
    rollout = world.rollout()
    url = f"/admin/rollouts/rollout/{rollout.pk}/rollback/"
    assert "Roll back echo-server now" in boss.get(url).content.decode()
    boss.post(url, {"reason": "p95 is up", "expect": rollout.revision})
    rollout.refresh_from_db()
    assert rollout.rollback_requested_at is not None
    assert Event.objects.filter(source="admin", reason="p95 is up").exists()
    assert "p95 is up" in LogEntry.objects.get().change_message


def test_a_late_rollback_says_that_there_is_nothing_to_do(boss, world):
    rollout = world.rollout("succeeded")
    answer = boss.post(f"/admin/rollouts/rollout/{rollout.pk}/rollback/", follow=True)
    assert "Nothing to do: the rollout had moved on" in answer.content.decode()
    assert not LogEntry.objects.exists()


def test_a_rollback_needs_its_own_permission(client, world):
    rollout, user = world.rollout(), person("viewer")
    user.is_staff = True
    user.save()
    user.user_permissions.add(Permission.objects.get(codename="view_rollout"))
    client.force_login(user)
    url = f"/admin/rollouts/rollout/{rollout.pk}/"
    assert "Roll back" not in client.get(f"{url}change/").content.decode()
    assert client.post(f"{url}rollback/").status_code == 403
    assert client.get(f"{url}status/").status_code == 200


def test_a_service_with_a_live_rollout_is_not_deleted(boss, world):
    world.rollout()
    url = f"/admin/rollouts/service/{world.service.pk}/delete/"
    answer = boss.post(url, {"post": "yes"}, follow=True)
    assert "cannot be deleted" in answer.content.decode()
    assert Service.objects.exists()


def test_settings_are_saved_column_by_column(boss, world):
    url = f"/admin/rollouts/service/{world.service.pk}/change/"
    form = boss.get(url).context["adminform"].form
    sent = {name: value for name, value in form.initial.items() if value not in (None, False)}
    Service.objects.update(weights={"1": 50, "2": 50})
    assert boss.post(url, sent | {"tasks": "5"}).status_code == 302
    assert Service.objects.get().tasks == 5
    assert Service.objects.get().weights == {"1": 50, "2": 50}


def test_lists_read_a_fixed_number_of_rows(boss, world, django_assert_max_num_queries):
    for number in range(40):
        Event.objects.create(at=timezone.now(), verb="x", text=str(number), service=world.service)
    with django_assert_max_num_queries(15):
        boss.get("/admin/rollouts/event/")
