"""Other ways to the same actions: the admin, two people at once, a browser without script."""

import re

import pytest
from playwright.sync_api import expect

from tests.e2e.browser import PHONE, REFUSED, Web, live, pill, press, sign_in
from tests.e2e.session import WebSession
from tests.e2e.stack import PASSWORD, SERVICE, Stack
from tests.e2e.test_browser_rollout import LONG, begin, number

pytestmark = [pytest.mark.stack, pytest.mark.browser, pytest.mark.timeout(120)]

VIEWER = """
from django.contrib.auth.models import Group, Permission, User
user, _ = User.objects.get_or_create(username="vic", defaults={{"is_staff": True}})
user.set_password({password!r})
user.save()
user.groups.add(Group.objects.get(name="viewer"))
"""


def routes(stack: Stack, rollout: int) -> int:
    """How often the weights were written for a rollout."""
    return len(stack.rows("SELECT 1 FROM rollouts_route WHERE rollout_id = ?", rollout))


@pytest.mark.parametrize("place", ["list", "change page"])
def test_the_admin_rolls_back_after_a_question(
    stack: Stack, who: WebSession, web: Web, place: str
) -> None:
    rollout = stack.deploy(who, "1.0", LONG)
    stack.until_rollout(rollout, phase="progressing", stage="hold")
    if place == "list":
        page = web.open("/admin/rollouts/rollout/")
        page.get_by_role("link", name=f"Roll back #{rollout}").click()
    else:
        page = web.open(f"/admin/rollouts/rollout/{rollout}/change/")
        expect(page.locator(".now")).to_contain_text("Progressing.")
        page.get_by_role("link", name="Roll back", exact=True).click()
    expect(page.locator("#content")).to_contain_text("All requests go back to 0.9 at once.")
    page.get_by_label(re.compile("^Reason")).fill(f"seen in the {place}")
    page.get_by_role("button", name=f"Roll back {SERVICE} now").click()
    expect(page.locator(".messagelist")).to_contain_text(f"Rollback of {SERVICE} requested.")
    stack.until_rollout(rollout, phase="rolled_back")
    page.goto(f"/audit/?object=%23{rollout}")
    by_ada = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="ada"))
    row = by_ada.filter(has_text=f"seen in the {place}")
    expect(row.get_by_role("cell").last).to_have_text("admin")


def test_without_the_permission_there_is_no_button(stack: Stack, who: WebSession, web: Web) -> None:
    web.allow(REFUSED)
    stack.manage("shell", "-v", "0", "-c", VIEWER.format(password=PASSWORD))
    rollout = stack.deploy(who, "1.0", LONG)
    page = web.context(signed_in=False).new_page()
    sign_in(page, "vic")
    page.goto("/admin/rollouts/rollout/")
    expect(page.get_by_role("link", name=f"#{rollout}")).to_have_count(0)
    page.goto(f"/admin/rollouts/rollout/{rollout}/change/")
    expect(page.get_by_role("link", name="Open the live page")).to_be_visible()
    expect(page.get_by_role("link", name="Roll back")).to_have_count(0)
    answer = page.goto(f"/admin/rollouts/rollout/{rollout}/rollback/")
    assert answer is not None
    assert answer.status == 403
    page.goto(f"/rollouts/{rollout}/")
    expect(page.locator("#rb")).to_have_attribute("aria-disabled", "true")
    expect(page.locator("#noperm")).to_contain_text("View only. Ask the admin or operator group.")
    page.keyboard.press("r")
    expect(page.locator("#dlg")).not_to_be_visible()
    answer = page.goto(f"/rollouts/{rollout}/rollback/")
    assert answer is not None
    assert answer.status == 403
    assert stack.rollout(rollout)["rollback_requested_at"] is None


def test_a_stale_question_is_asked_anew_and_acts_once(
    stack: Stack, who: WebSession, web: Web
) -> None:
    web.allow(REFUSED)
    first = begin(stack, who, web)
    second = web.open(first.url)
    live(second)
    stale = press(second, "r")
    press(first, "p")
    first.keyboard.press("Enter")
    expect(pill(first)).to_have_text("Paused at 50 %")
    second.keyboard.press("Enter")
    expect(stale.get_by_role("alert")).to_contain_text("The rollout has moved on")
    expect(stale.get_by_role("alert")).to_contain_text("Paused at 50 %")
    assert stack.rollout(number(first))["rollback_requested_at"] is None
    second.wait_for_timeout(450)
    second.keyboard.press("Enter")
    expect(pill(first)).to_have_text("Rolled back to 0.9")


def test_the_second_of_two_rollbacks_is_told_that_it_has_happened(
    stack: Stack, who: WebSession, web: Web
) -> None:
    web.allow(REFUSED)
    first = begin(stack, who, web)
    second = web.open(first.url)
    live(second)
    stale = press(second, "r")
    press(first, "r")
    first.keyboard.press("Enter")
    expect(pill(first)).to_have_text("Rolled back to 0.9")
    written = routes(stack, number(first))
    second.keyboard.press("Enter")
    expect(stale).to_contain_text("This rollout has already finished: rolled back.")
    assert routes(stack, number(first)) == written == 2
    stale.get_by_role("button", name="Close").click()
    expect(pill(second)).to_have_text("Rolled back to 0.9")


@pytest.mark.parametrize("size", [(1440, 900), PHONE], ids=["desk", "phone"])
def test_without_script_the_page_is_read_and_rolled_back(
    stack: Stack, who: WebSession, web: Web, size: tuple[int, int]
) -> None:
    rollout = stack.deploy(who, "1.0", LONG)
    stack.until_rollout(rollout, phase="progressing", stage="hold")
    page = web.context(size, java_script_enabled=False).new_page()
    page.goto(f"/rollouts/{rollout}/")
    expect(pill(page)).to_have_text("Baking at 50 %")
    expect(page.locator("#plot-split svg")).to_be_visible()
    expect(page.locator(".tl li")).to_have_count(8)
    expect(page.locator("#versions tbody tr")).to_have_count(2)
    expect(page.locator("#reqs tr").first).to_contain_text("Response from the server: Hello, ")
    for button in ("#freeze", "#filter", "#tz", "#theme"):
        expect(page.locator(button)).not_to_be_visible()
    page.get_by_role("link", name="Roll back to 0.9").click()
    expect(page.get_by_role("heading", name=f"Roll back {SERVICE} to 0.9?").last).to_be_visible()
    page.get_by_label(re.compile("^Reason")).fill("by form")
    page.get_by_role("button", name="Roll back to 0.9 now").click()
    stack.until_rollout(rollout, phase="rolled_back")
    page.goto(f"/rollouts/{rollout}/")
    expect(pill(page)).to_have_text("Rolled back to 0.9")
    expect(page.locator("#activity")).to_contain_text("by form")
