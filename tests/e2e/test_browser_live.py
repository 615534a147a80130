"""Pages while parts of meshui are away: what they say, how soon, and that Rollback still works."""

import os
import re
import signal
import socket

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import (
    OFFLINE,
    REFUSED,
    Web,
    connection,
    live,
    pill,
    press,
    sign_in,
    until,
    write_bar,
)
from tests.e2e.session import WebSession
from tests.e2e.stack import NAME, Stack
from tests.e2e.test_browser_rollout import begin, newest_sample, number

pytestmark = [pytest.mark.stack, pytest.mark.browser, pytest.mark.timeout(120)]

# What the page promises, in seconds, and a second for this machine's other work.
RECONNECTING_S, NOT_LIVE_S, LIVE_AGAIN_S = 5, 13, 6
BUSY_S = 1.0


def state(page: Page) -> str:
    return connection(page).get_attribute("data-s") or ""


def accepts(stack: Stack) -> bool:
    """Does the dashboard's port take connections?"""
    try:
        socket.create_connection(("127.0.0.1", stack.ports["MESHUI_PORT"]), 1).close()
    except OSError:
        return False
    return True


def within(page: Page, wanted: str, limit_s: float, bar: str) -> None:
    """Wait for a state of the connection, and keep how long it took."""
    took = until(lambda: state(page) == wanted, limit_s + BUSY_S, f"the page is {wanted}")
    write_bar(bar, took)


def test_a_killed_web_process_is_noticed_and_found_again(
    stack: Stack, who: WebSession, web: Web
) -> None:
    web.allow(OFFLINE)
    page = begin(stack, who, web)
    old = stack.kill("web")
    within(page, "stale", RECONNECTING_S, "killed_reconnecting_s")
    expect(connection(page)).to_have_text("Reconnecting")
    until(lambda: stack.pid("web") != old and accepts(stack), 20, "the web process is back")
    within(page, "live", LIVE_AGAIN_S, "killed_live_again_s")
    sample = newest_sample(page)
    until(lambda: newest_sample(page) > sample, 5, "samples come again")


def test_a_frozen_web_process_makes_the_page_old(stack: Stack, who: WebSession, web: Web) -> None:
    web.allow(OFFLINE)
    page = begin(stack, who, web)
    pid = stack.kill("web", signal.SIGSTOP)
    within(page, "stale", RECONNECTING_S, "frozen_reconnecting_s")
    within(page, "down", NOT_LIVE_S - RECONNECTING_S, "frozen_not_live_after_that_s")
    expect(page.locator("#stale")).to_contain_text("Not live. Last update 1")
    expect(page.locator("body")).to_have_class(re.compile("stale"))
    old = "getComputedStyle(document.querySelector('.pills + .verdict'), '::before').content"
    assert page.evaluate(old) == '"Old: "'
    page.get_by_role("button", name="Reconnect now").click()
    os.kill(pid, signal.SIGCONT)
    within(page, "live", LIVE_AGAIN_S, "frozen_live_again_s")
    expect(page.locator("#stale")).not_to_be_visible()


def test_with_ten_tabs_the_eleventh_still_rolls_back(
    stack: Stack, who: WebSession, web: Web
) -> None:
    first = begin(stack, who, web)
    tabs = [first.context.new_page() for _ in range(10)]
    for tab in tabs:
        tab.goto(first.url, wait_until="domcontentloaded")
    last = tabs[-1]
    live(last)
    press(last, "r")
    last.keyboard.press("Enter")
    for tab in (last, first, tabs[4]):
        expect(pill(tab)).to_have_text("Rolled back to 0.9")


def test_a_page_says_that_another_tab_signed_out(stack: Stack, who: WebSession, web: Web) -> None:
    web.allow(REFUSED)
    page = web.context(signed_in=False).new_page()
    sign_in(page, NAME)  # a session of one's own: the shared one must go on
    page.goto("/")
    live(page)
    other = page.context.new_page()
    other.goto("/account/")
    other.locator("summary[aria-label^=Account]").click()
    other.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("alert").filter(has_text="You are signed out.")).to_be_visible()
    expect(connection(page)).to_have_text("Signed out")
    asked: list[str] = []
    page.context.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(3000)  # in which a page that goes on asking would ask
    assert asked == []
    sign_in(other, NAME)
    other.goto("/")
    live(other)
    live(page)
    expect(page.get_by_role("alert").filter(has_text="You are signed out.")).to_have_count(0)


def test_without_the_broker_the_page_stays_live(stack: Stack, who: WebSession, web: Web) -> None:
    page = begin(stack, who, web)
    pid = stack.kill("broker", signal.SIGSTOP)
    sample = newest_sample(page)
    page.wait_for_timeout(RECONNECTING_S * 1000)
    assert state(page) == "live"
    assert newest_sample(page) > sample + 10
    press(page, "p")
    page.keyboard.press("Enter")
    expect(pill(page)).to_have_text("Paused at 50 %")
    os.kill(pid, signal.SIGCONT)
    ticks = stack.service()["ticks"]
    took = until(lambda: stack.service()["ticks"] > ticks + 2, 30, "the worker ticks again")
    write_bar("worker_ticks_after_frozen_broker_s", took)


def test_without_a_worker_the_page_says_so_and_rolls_back(
    stack: Stack, who: WebSession, web: Web
) -> None:
    page = begin(stack, who, web)
    for name in ("worker", "beat"):
        stack.kill(name, signal.SIGSTOP)
    says = page.get_by_text(re.compile("[Ww]orker .*not answer"))
    took = until(lambda: says.first.is_visible(), 10, "the page says that no worker answers")
    write_bar("no_worker_said_s", took)
    press(page, "r")
    page.keyboard.press("Enter")
    expect(pill(page)).to_have_text("Rolled back to 0.9")
    assert stack.weights() == {"0.9": 100}
    assert stack.rollout(number(page))["phase"] == "rolled_back"
