"""The pages of images and builds in a real Chromium: axe, sideways scroll, the log that comes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import REFUSED, Web, live, until
from tests.e2e.stack import Stack
from tests.e2e.test_browser_pages import check, in_every_look, sideways

pytestmark = [pytest.mark.stack, pytest.mark.browser, pytest.mark.timeout(240)]
PLACE = "/services/echo-aws"
MAKE = """
from django.utils import timezone
from rollouts.models import Build, BuildLine, Mesh, Service, Stack, Version
mesh = Mesh.objects.create(slug="shop", name="shop", platform="ecs")
host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
Stack.objects.create(mesh=mesh, name="infra", kind="cloudformation",
    outputs={"EchoServerRepository": host + "/shop/echo_server", "ImageBuilder": "shop-images"})
service = Service.objects.create(mesh=mesh, slug="echo-aws", name="echo_server.shop.local")
digest = "sha256:" + "ab" * 32
version = Version.objects.add(service, label="1.0", digest=digest, image=f"x@{digest}")
now = timezone.now()
states = [
    {"phase": "succeeded", "version": version, "digest": digest, "image": f"x@{digest}"},
    {"phase": "failed", "reason": "The command returned a non-zero code: 1"},
    {"phase": "building", "kind": "codebuild"},
    {"phase": "queued"},
]
for number, state in enumerate(states):
    build = Build.objects.create(**{"service": service, "kind": "docker", "label": f"2.{number}",
        "source": {"context": "sample"}, "created_at": now, **state})
    BuildLine.objects.bulk_create(BuildLine(build=build, number=n, at=now,
        text=f"Step {n}/40 : RUN " + "word " * 40) for n in range(1, 41))
print(*Build.objects.order_by("pk").values_list("pk", flat=True))
"""
UNMAKE = """
from rollouts.models import Mesh, Service
Service.objects.filter(slug="echo-aws").delete()
Mesh.objects.filter(slug="shop").delete()
"""


@pytest.fixture
def builds(stack: Stack) -> Iterator[list[str]]:
    """The numbers of a build that succeeded, failed, runs, and waits."""
    made = stack.manage("shell", "-v0", "-c", MAKE)
    assert made.returncode == 0, made.stderr
    yield made.stdout.split()
    assert stack.manage("shell", "-v0", "-c", UNMAKE).returncode == 0


def test_axe_finds_nothing_on_the_pages_of_images(web: Web, builds: list[str]) -> None:
    web.allow(REFUSED)
    page = web.context(bypass_csp=True).new_page()
    paths = [f"/builds/{number}/" for number in builds]
    paths += [f"{PLACE}/images/", f"{PLACE}/builds/add/", f"/builds/{builds[2]}/cancel/"]
    found = []
    for path in paths:
        page.goto(path)
        found += check(page, path)
        found += [
            f"{path}, {look}: {n} px" for look in in_every_look(page) if (n := sideways(page))
        ]
    page.goto(f"{PLACE}/builds/add/?image=1.0")
    page.get_by_role("button", name="Make the version").click()
    expect(page.locator("[data-errors]")).to_contain_text("has a version 1.0 already")
    found += check(page, "refused form")
    assert not found, "\n".join(found)


def test_the_form_shows_the_fields_of_the_chosen_way_only(web: Web, builds: list[str]) -> None:
    page = web.open(f"{PLACE}/builds/add/")
    page.get_by_role("radio", name="CodeBuild").check()
    expect(page.get_by_label("Address of the code")).to_be_visible()
    expect(page.get_by_label("Tag or digest")).to_be_hidden()
    page.get_by_role("radio", name="An image that is there").check()
    expect(page.get_by_label("Tag or digest")).to_be_visible()
    expect(page.get_by_label("Address of the code")).to_be_hidden()


def test_the_log_follows_its_end_and_keeps_the_readers_place(
    stack: Stack, web: Web, builds: list[str]
) -> None:
    page = web.open(f"/builds/{builds[2]}/")
    live(page)
    log = page.locator("#log")
    until(lambda: _from_end(page) <= 1, 5, "it begins at the end")
    _say(stack, builds[2], 41, "first news")
    expect(log).to_contain_text("first news")
    until(lambda: _from_end(page) <= 1, 5, "it follows")
    log.evaluate("box => { box.scrollTop = 40 }")
    page.wait_for_timeout(100)
    _say(stack, builds[2], 42, "more news")
    expect(log).to_contain_text("more news")
    assert log.evaluate("box => box.scrollTop") == 40
    page.get_by_role("button", name="To the end").click()
    until(lambda: _from_end(page) <= 1, 5, "back at the end")


def _from_end(page: Page) -> float:
    distance = "box => box.scrollHeight - box.clientHeight - box.scrollTop"
    return float(page.locator("#log").evaluate(distance))


def _say(stack: Stack, build: str, number: int, text: str) -> None:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    stack.write(
        "INSERT INTO rollouts_buildline (build_id, number, at, text) VALUES (?, ?, ?, ?)",
        int(build), number, at, text,
    )  # fmt: skip


def test_a_build_that_ends_says_so_without_a_reload(
    stack: Stack, web: Web, builds: list[str]
) -> None:
    page = web.open(f"/builds/{builds[2]}/")
    live(page)
    stack.write(
        "UPDATE rollouts_build SET phase = 'failed', reason = 'It broke.' WHERE id = ?",
        int(builds[2]),
    )
    expect(page.get_by_role("alert").filter(has_text="It broke.")).to_be_visible()
    expect(page).to_have_title(f"Failed · build #{builds[2]} · meshui")


def test_cancelling_works_by_keyboard_in_a_dialog(
    stack: Stack, web: Web, builds: list[str]
) -> None:
    page = web.open(f"/builds/{builds[3]}/")
    page.get_by_role("link", name="Cancel the build").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#dlg")).to_be_visible()
    page.wait_for_timeout(450)  # a dialog takes no Enter for its first 400 ms
    page.get_by_role("button", name=f"Cancel build #{builds[3]}").press("Enter")
    expect(page.locator("#pill")).to_have_text("Cancelled")


def test_it_works_without_script(web: Web, builds: list[str]) -> None:
    page = web.open(f"/builds/{builds[3]}/", java_script_enabled=False)
    page.get_by_role("link", name="Cancel the build").click()
    page.get_by_role("button", name=f"Cancel build #{builds[3]}").click()
    expect(page.locator("#pill")).to_have_text("Cancelled")
