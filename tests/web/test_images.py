"""The pages of images and builds: who may, what a wrong form says, what a build shows."""

from __future__ import annotations

import io
import tarfile
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from rollouts import building, clock
from rollouts.models import Build, BuildLine, Event, Mesh, Version
from tests.web.world import ROLES, build_world, person

pytestmark = pytest.mark.django_db
DIGEST = "sha256:" + "ab" * 32
URI = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/local/echo_server"
ADD = "/services/echo-server/builds/add/"
PAGES = {
    "/services/echo-server/images/": (302, 200, 200, 200),
    ADD: (302, 403, 200, 200),
    "/builds/1/": (302, 200, 200, 200),
    "/builds/1/log/": (302, 200, 200, 200),
    "/builds/1/cancel/": (302, 200, 200, 200),
}


@pytest.fixture
def world(settings):
    """A service on AWS whose engine is set; nothing here asks AWS or the engine."""
    made = build_world()
    settings.DOCKER_HOST = "unix:///nowhere/docker.sock"
    Mesh.objects.update(platform="ecs", settings={})
    made.stack.outputs = {"EchoServerRepository": URI, "ImageBuilder": "local-images"}
    made.stack.save()
    return made


@pytest.fixture
def a_build(world):
    def make(**columns):
        defaults = {"kind": "docker", "label": "1.1", "source": {"context": "sample"}}
        return Build.objects.create(
            **{"service": world.service, "created_at": timezone.now(), **defaults, **columns}
        )

    return make


@pytest.fixture
def region(settings):
    settings.AWS_DEFAULT_REGION = "eu-west-1"


@pytest.fixture
def operator(client, region):
    client.force_login(person("operator"))
    return client


def tarball(name="Dockerfile"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as made:
        made.addfile(tarfile.TarInfo(name))
    out.seek(0)
    out.name = "context.tar.gz"
    return out


SAMPLE = {"kind": "docker", "label": "1.1", "context": "sample"}


@pytest.mark.parametrize("url", PAGES)
@pytest.mark.parametrize(("number", "role"), list(enumerate(ROLES)))
def test_each_role_sees_its_pages(client, a_build, url, number, role):
    a_build(pk=1)
    if role != "anonymous":
        client.force_login(person(role))
    assert client.get(url).status_code == PAGES[url][number]


@pytest.mark.parametrize("url", PAGES)
@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_no_page_takes_another_method(operator, a_build, url, method):
    a_build(pk=1)
    assert getattr(operator, method)(url).status_code == 405


def test_a_viewer_builds_and_cancels_nothing_and_the_attempt_is_recorded(client, a_build):
    build = a_build()
    client.force_login(person("viewer"))
    assert client.post(ADD, SAMPLE | {"label": "2.0"}).status_code == 403
    assert client.post(f"/builds/{build.pk}/cancel/").status_code == 403
    assert Build.objects.filter(cancelled=False).count() == 1
    assert Event.objects.filter(verb="refused").count() == 2


def test_a_form_without_its_token_is_refused(world):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(person("operator"))
    assert strict.post(ADD, SAMPLE).status_code == 403
    assert not Build.objects.exists()


def test_the_sample_is_asked_for_and_waits_for_the_build_worker(operator, world):
    answer = operator.post(ADD, SAMPLE | {"note": "try it"})
    build = Build.objects.get()
    assert answer.url == build.get_absolute_url()
    assert (build.phase, build.source, build.note) == ("queued", {"context": "sample"}, "try it")
    assert building.waiting(clock.moment()) == [build.pk]
    assert "asked for a build of 1.1" in Event.objects.get(verb="build").text


def test_the_same_request_sent_twice_builds_once(operator, world):
    first = operator.post(ADD, SAMPLE | {"request_id": "a" * 32})
    second = operator.post(ADD, SAMPLE | {"request_id": "a" * 32})
    assert first.url == second.url
    assert Build.objects.count() == 1


def test_an_upload_is_kept_with_the_build(operator, world):
    upload = {"kind": "docker", "label": "1.1", "context": "upload", "archive": tarball()}
    assert operator.post(ADD, upload).status_code == 302
    build = Build.objects.get()
    assert build.source["context"] == "upload"
    assert bytes(build.archive or b"") == tarball().getvalue()


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"kind": ""}, "kind", "Choose where"),
        ({"kind": "magic"}, "kind", "Choose where"),
        ({"label": ""}, "label", "required"),
        ({"label": "1.0"}, "label", "has a version 1.0 already"),
        ({"label": "a b"}, "label", "Use 1 to 63"),
        ({"context": ""}, "context", "Choose what"),
        ({"context": "upload"}, "archive", "Choose a tarball"),
        ({"context": "upload", "archive": "text"}, "archive", ""),
        ({"context": "upload", "dockerfile": "../x", "archive": 1}, "dockerfile", "stay"),
        ({"context": "upload", "dockerfile": "other", "archive": 1}, "dockerfile", "no other"),
        ({"kind": "existing", "image": ""}, "image", "Name an image"),
        ({"kind": "existing", "image": "a b"}, "image", "Name an image"),
        ({"kind": "existing", "image": "sha256:12"}, "image", "Name an image"),
        ({"kind": "codebuild"}, "location", "Use an address"),
        ({"kind": "codebuild", "location": "https://x.example/a/b"}, "location", "CodeBuild"),
        ({"kind": "codebuild", "location": "file:///etc/passwd"}, "location", "Use an address"),
        (
            {"kind": "codebuild", "location": "https://github.com/a/b", "ref": "-x"},
            "ref",
            "Name a branch",
        ),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_built(operator, world, changes, field, words):
    if changes.get("archive") == 1:
        changes = changes | {"archive": tarball()}
    answer = operator.post(ADD, SAMPLE | changes)
    assert answer.status_code == 422
    assert words in " ".join(answer.context["form"].errors[field])
    assert not Build.objects.exists()


def test_a_label_that_a_build_makes_right_now_is_taken(operator, a_build):
    build = a_build()
    answer = operator.post(ADD, SAMPLE)
    assert f"Build #{build.pk} makes 1.1 right now." in answer.content.decode()


def test_a_way_that_is_not_set_up_cannot_be_chosen(operator, world, settings):
    settings.DOCKER_HOST = ""
    assert "No engine is set" in operator.get(ADD).content.decode()
    assert operator.post(ADD, SAMPLE).status_code == 422
    assert not Build.objects.exists()


def test_without_a_repository_it_says_which_stack_is_missing(operator, world):
    world.stack.outputs = {}
    world.stack.save()
    sentence = "create the stack infra of local first"
    assert sentence in operator.get("/services/echo-server/images/").content.decode()
    answer = operator.post(ADD, {"kind": "existing", "label": "1.1", "image": "1.1"})
    assert (answer.status_code, sentence in answer.content.decode()) == (409, True)


def test_a_service_of_processes_has_no_images(operator, world):
    Mesh.objects.update(platform="local")
    page = operator.get("/services/echo-server/images/").content.decode()
    assert "runs as processes of this machine" in page
    assert operator.post(ADD, SAMPLE).status_code == 409
    assert "/images/" not in operator.get("/services/echo-server/").content.decode()


def test_the_service_page_leads_to_the_images(operator, world):
    assert (
        "/services/echo-server/images/" in operator.get("/services/echo-server/").content.decode()
    )


def test_a_failed_build_says_why_on_top(operator, a_build):
    build = a_build(phase="failed", reason="The command '/bin/sh -c false' returned: 1")
    page = operator.get(build.get_absolute_url()).content.decode()
    assert page.index("returned: 1") < page.index("h-log")
    assert f"again={build.pk}" in page


def test_building_again_starts_from_the_same_fields(operator, a_build):
    a_build(pk=7, label="2.0", source={"context": "upload", "dockerfile": "a/Dockerfile"})
    page = operator.get(f"{ADD}?again=7").content.decode()
    assert 'value="a/Dockerfile"' in page
    assert 'value="2.0"' in page


@pytest.mark.parametrize("again", ["x", "-1", "9" * 30, "\u0663", "8"])
def test_an_odd_number_of_a_build_is_an_empty_form(operator, a_build, again):
    assert operator.get(ADD, {"again": again}).status_code == 200


def test_a_finished_build_offers_its_version(operator, world, a_build):
    version = Version.objects.add(world.service, label="1.1", digest=DIGEST, image=f"x@{DIGEST}")
    build = a_build(phase="succeeded", version=version, digest=DIGEST, image=f"{URI}@{DIGEST}")
    page = operator.get(build.get_absolute_url()).content.decode()
    assert f"/services/echo-server/deploy/?version={version.number}" in page
    assert f"{URI}@{DIGEST}" in page


def test_a_log_is_text_and_never_markup(operator, a_build):
    build = a_build(phase="building")
    BuildLine.objects.create(
        build=build, number=1, at=timezone.now(), text="<script>alert(1)</script>"
    )
    page = operator.get(build.get_absolute_url()).content.decode()
    assert "&lt;script&gt;alert(1)" in page
    whole = operator.get(f"{build.get_absolute_url()}log/")
    assert whole["Content-Type"] == "text/plain; charset=utf-8"
    assert whole.content == b"<script>alert(1)</script>\n"


def test_the_page_shows_the_end_of_a_long_log(operator, a_build):
    build = a_build(phase="building")
    BuildLine.objects.bulk_create(
        BuildLine(build=build, number=n, at=timezone.now(), text=f"line {n}") for n in range(1, 701)
    )
    page = operator.get(build.get_absolute_url(), headers={"HX-Request": "true"}).content.decode()
    assert "line 201<" in page
    assert "line 200<" not in page
    assert "the last 500 lines" in page


def test_a_queued_build_says_that_nobody_has_taken_it(operator, a_build):
    old = timezone.now() - timedelta(seconds=42)
    assert "No build worker has taken this for 42 s" in (
        operator.get(a_build(created_at=old).get_absolute_url()).content.decode()
    )


def test_cancelling_before_it_began_ends_it_at_once(operator, a_build):
    build = a_build(wake_at=timezone.now())
    assert operator.post(f"/builds/{build.pk}/cancel/").url == build.get_absolute_url()
    build.refresh_from_db()
    assert (build.phase, build.cancelled, build.reason) == ("cancelled", True, "")


def test_cancelling_what_has_ended_is_refused_with_what_is_now(operator, a_build):
    build = a_build(phase="succeeded")
    answer = operator.post(f"/builds/{build.pk}/cancel/")
    assert answer.status_code == 409
    assert f"Build #{build.pk} has succeeded already." in answer.content.decode()


def test_the_build_page_reads_a_fixed_number_of_rows(
    operator, a_build, django_assert_max_num_queries
):
    build = a_build()
    with django_assert_max_num_queries(8):
        operator.get(build.get_absolute_url())


@pytest.mark.parametrize("path", ["", "log/", "cancel/"])
def test_a_number_that_no_build_can_have_is_not_found(operator, world, path):
    assert operator.get(f"/builds/{'9' * 30}/{path}").status_code == 404
