"""The stack is destroyed and created again from its page."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.e2e.browser import REFUSED, Web, live
from tests.e2e.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.browser, pytest.mark.timeout(120)]

PLACE = "/infrastructure/local/local/"


def phase(stack: Stack) -> str:
    (row,) = stack.rows("SELECT phase FROM rollouts_stack WHERE name = 'local'")
    return str(row["phase"])


@pytest.fixture
def restored(stack: Stack) -> Iterator[None]:
    """Whatever happens here, the next test finds a stack that is ready."""
    yield
    if phase(stack) != "ready":
        stack.web_session().post(f"{PLACE}create/")
        stack.until(lambda: phase(stack) == "ready", 60, "the stack is ready again")


@pytest.mark.usefixtures("restored")
def test_a_stack_is_destroyed_by_name_and_created_again(stack: Stack, web: Web) -> None:
    web.allow(REFUSED)
    page = web.open(PLACE)
    expect(page.locator("#pill")).to_have_text("Ready")
    page.get_by_role("link", name="Destroy local").click()
    expect(page.locator("main")).to_contain_text("echo-server")
    page.get_by_label(re.compile("^Type the name")).fill("loca")
    page.get_by_role("button", name="Destroy local").click()
    expect(page.locator("#typed-wrong")).to_have_text("Type local to destroy it.")
    assert phase(stack) == "ready"
    page.get_by_label(re.compile("^Type the name")).fill("local")
    page.get_by_role("button", name="Destroy local").click()
    page.wait_for_url(f"**{PLACE}")
    live(page)
    expect(page.locator("#pill")).to_have_text("Not there", timeout=40_000)
    expect(page.locator(".ev tbody tr").first).to_contain_text("DELETE_COMPLETE")
    assert not stack.answers()
    page.get_by_role("link", name="Create local").click()
    page.get_by_role("button", name="Create local").click()
    page.wait_for_url(f"**{PLACE}")
    expect(page.locator("#pill")).to_have_text("Ready", timeout=60_000)
    expect(page.locator(".ev tbody tr").first).to_contain_text("Response from the server: Hello, ")
    expect(page.locator(".ev tbody")).to_contain_text("CREATE_COMPLETE")
    stack.until(stack.answers, 20, "the endpoint answers again")
