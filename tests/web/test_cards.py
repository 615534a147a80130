"""Failures explained on pages, what ECS says, and how services on ECS are worded."""

import pytest
from django.utils import timezone
from django.utils.html import escape

from rollouts.domain.failures import explain
from rollouts.errors import PlatformUnreachable
from rollouts.models import Mesh, Rollout, Service, Task, Version
from rollouts.platforms import base as platforms
from rollouts.routers import base as routers
from rollouts.routers.base import Caps
from rollouts.web.forms import VersionForm
from tests.fakes import FakePlatform
from tests.web.aws_rows import DIGEST, IMAGE
from tests.web.rollout_rows import person, rolling, task

pytestmark = pytest.mark.django_db
PULL = "CannotPullContainerError: pull image manifest has been retried 1 time(s): not found"
HTMX = {"HX-Request": "true"}


class SpokenPlatform(FakePlatform):
    """Says two things of its own."""

    def messages(self, service):
        return [
            (timezone.now(), "(service echo) has reached a steady state."),
            (None, "<b>old</b>"),
        ]


class SilentPlatform(FakePlatform):
    def messages(self, service):
        raise PlatformUnreachable("AWS did not answer in 15 s.")


class EndedRouter:
    caps = Caps(notice="AWS ended App Mesh on 2026-09-30.")


@pytest.fixture
def rollout(world, monkeypatch):
    monkeypatch.setitem(platforms.REGISTRY, "ecs", "tests.fakes.FakePlatform")
    made = rolling(timezone.now())
    Mesh.objects.update(platform="ecs", settings={"region": "eu-central-1"})
    made.service.mesh.refresh_from_db()
    return made


@pytest.fixture
def operator(client):
    client.force_login(person(may="operate_service rollback_rollout"))
    return client


def title(reason=PULL):
    card = explain(reason)
    assert card is not None
    return card.title


def html(client, url, **headers):
    return client.get(url, headers=headers).content.decode()


def page(client, rollout):
    return html(client, f"/rollouts/{rollout.pk}/")


def end(rollout, phase="rolled_back", **columns):
    Rollout.objects.filter(pk=rollout.pk).update(phase=phase, finished_at=timezone.now(), **columns)


@pytest.mark.parametrize("phase", ["rolled_back", "failed", "rolling_back"])
def test_a_known_reason_is_explained_and_stays_readable(operator, rollout, phase):
    end(rollout, phase, reason=f"1.0 cannot be started: {PULL}")
    shown = page(operator, rollout)
    card = explain(PULL)
    assert card is not None
    assert card.title in shown
    assert "Why it failed" in shown
    assert shown.count(PULL) >= 2  # the verdict, and word for word under the card
    assert all(escape(offer) in shown for offer in card.offers)


def test_an_unknown_reason_has_no_card(operator, rollout):
    end(rollout, reason="The moon was in the way.")
    assert "Why it failed" not in page(operator, rollout)


def test_a_rollout_that_goes_well_has_no_card(operator, rollout):
    assert "Why it failed" not in page(operator, rollout)


def test_what_a_person_wrote_is_not_read_as_aws(operator, rollout):
    end(rollout, reason=f"I saw {PULL}", rollback_requested_at=timezone.now())
    assert "Why it failed" not in page(operator, rollout)


def test_the_task_explains_what_the_rollout_does_not(operator, rollout):
    end(rollout, reason="Not all tasks were healthy in 600 s.")
    Task.objects.filter(version=rollout.to_version).update(healthy=False, reason=PULL)
    assert "Why it failed" in page(operator, rollout)


def test_the_live_parts_bring_the_card_too(operator, rollout):
    end(rollout, reason=PULL)
    assert 'hx-target="#failure"' in html(operator, f"/rollouts/{rollout.pk}/parts/")


def test_a_task_that_is_not_well_is_explained_beside_it(operator, rollout):
    Rollout.objects.update(phase="starting", stage="")
    rollout.records.exclude(key="provision").delete()
    rollout.records.create(key="start", started_at=timezone.now())
    Task.objects.filter(version=rollout.to_version).update(
        healthy=False, state="starting", reason=PULL, log="cannot pull"
    )
    for url in (f"/rollouts/{rollout.pk}/", "/services/echo-server/"):
        assert title() in html(operator, url)
    steps = page(operator, rollout)
    steps = steps[steps.index('id="steps"') : steps.index('id="versions"')]
    assert steps.count("Said word for word") == 1  # of two tasks
    assert "cannot pull" in html(operator, "/services/echo-server/")


def test_many_tasks_that_fail_alike_are_explained_once(operator, rollout):
    for index in range(2, 6):
        task(rollout.to_version, index, timezone.now())
    Task.objects.filter(version=rollout.to_version).update(
        healthy=False, state="stopped", reason=PULL
    )
    shown = html(operator, "/services/echo-server/")
    tasks = shown[shown.index('id="h-tasks"') : shown.index('id="h-map"')]
    assert tasks.count("Said word for word") == 1
    assert tasks.count(title()) == 6


# --- services on ECS


def test_tasks_of_ecs_have_a_task_id_and_an_address_and_no_process(operator, rollout):
    Task.objects.all().delete()
    made = task(rollout.to_version, 0, timezone.now(), host="10.0.1.7", port=50051, pid=None)
    arn = "arn:aws:ecs:eu-central-1:123456789012:task/echo/0123456789abcdef0123456789abcdef"
    Task.objects.filter(pk=made.pk).update(name=arn)
    shown = html(operator, "/services/echo-server/")
    assert ">0123456789abcdef0123456789abcdef<" in shown
    assert "10.0.1.7:50051" in shown
    assert "ECS task" in shown
    assert "process" not in shown.lower()


def test_tasks_of_this_machine_have_a_process(operator, rollout):
    Mesh.objects.update(platform="local")
    Task.objects.update(pid=4711)
    assert "process 4711" in html(operator, "/services/echo-server/")


def test_a_version_on_ecs_shows_its_digest(operator, rollout):
    Version.objects.filter(pk=rollout.to_version_id).update(image=IMAGE)
    assert f"echo_client@{DIGEST[7:19]}" in html(operator, "/services/echo-server/")


def test_what_could_not_be_applied_is_said_on_the_service(operator, rollout):
    Service.objects.update(trouble=PULL, trouble_lasts=True)
    assert title() in html(operator, "/services/echo-server/")


def test_ecs_is_asked_for_its_messages_on_demand(operator, rollout, monkeypatch):
    monkeypatch.setitem(platforms.REGISTRY, "ecs", f"{__name__}.SpokenPlatform")
    assert 'hx-get="/services/echo-server/messages/"' in html(operator, "/services/echo-server/")
    alone = html(operator, "/services/echo-server/messages/")
    part = html(operator, "/services/echo-server/messages/", **HTMX)
    assert "has reached a steady state" in alone
    assert "has reached a steady state" in part
    assert "&lt;b&gt;old&lt;/b&gt;" in part
    assert "<html" in alone
    assert "<html" not in part


def test_a_silent_aws_is_a_sentence_and_not_an_error(operator, rollout, monkeypatch):
    monkeypatch.setitem(platforms.REGISTRY, "ecs", f"{__name__}.SilentPlatform")
    assert "AWS did not answer in 15 s." in html(operator, "/services/echo-server/messages/")


def test_this_machine_has_no_messages_of_its_own(operator, rollout):
    Mesh.objects.update(platform="local")
    assert "ECS messages" not in html(operator, "/services/echo-server/")
    assert "says nothing of its own" in html(operator, "/services/echo-server/messages/")


@pytest.mark.parametrize("url", ["/services/echo-server/", "/rollouts/{pk}/", "/infrastructure/"])
def test_a_router_that_has_ended_says_so_on_every_page_of_its_mesh(
    operator, rollout, monkeypatch, url
):
    monkeypatch.setitem(routers.REGISTRY, "ended", f"{__name__}.EndedRouter")
    Mesh.objects.update(router="ended")
    assert "AWS ended App Mesh on 2026-09-30." in html(operator, url.format(pk=rollout.pk))


# --- the form of a version


def test_a_version_on_ecs_is_asked_for_by_digest(operator, rollout):
    shown = html(operator, "/services/echo-server/versions/add/")
    assert shown.index('name="image"') < shown.index('name="command"')
    assert "By digest, as in repository@sha256:" in shown


@pytest.mark.parametrize("image", ["", "echo:1.0", "echo", "echo@sha256:abc"])
def test_a_tag_is_no_version_on_ecs(rollout, image):
    form = VersionForm(rollout.service, {"label": "1.1", "image": image, "command": "serve"})
    assert set(form.errors) == {"image"}


def test_a_digest_is_enough_on_ecs(operator, rollout):
    answer = operator.post(
        "/services/echo-server/versions/add/", {"label": "1.1", "image": IMAGE, "command": ""}
    )
    assert answer.url == "/services/echo-server/deploy/?version=3"
    assert Version.objects.get(label="1.1").digest == DIGEST


def test_placeholders_of_this_machine_mean_nothing_on_ecs(operator, rollout):
    answer = operator.post(
        "/services/echo-server/versions/add/",
        {"label": "1.1", "image": IMAGE, "command": "serve {port}"},
    )
    assert "filled in only on this machine" in answer.content.decode()


# --- loud badges


@pytest.mark.parametrize("url", ["/", "/infrastructure/", "/audit/", "/login/", "/nothing-here/"])
def test_a_replaced_aws_is_said_on_every_page(operator, rollout, settings, url):
    assert "not to AWS" not in html(operator, url)
    settings.AWS_ENDPOINT_URL = "http://127.0.0.1:5055"
    settings.AWS_FAKE = True
    shown = operator.get(url, follow=True).content.decode()
    assert "FAKE AWS: nothing here is real." in shown
    assert "AWS calls go to <code>http://127.0.0.1:5055</code>, not to AWS." in shown


def test_meshes_of_the_fake_are_marked(operator, rollout, settings):
    assert "fake, not AWS" not in html(operator, "/infrastructure/")
    settings.AWS_FAKE = True
    assert "fake, not AWS" in html(operator, "/infrastructure/")
