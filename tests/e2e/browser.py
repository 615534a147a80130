"""A real Chromium in front of the real stack, and what every page in it is held to.

``Web`` opens pages as one signed-in person. Whatever the test is about, it fails at its end when a
page wrote an error to the console, broke its own content security policy, threw, or asked anything
of another host.

Playwright's sync API keeps an event loop running in this thread for as long as it lives, and no
asyncio test could run beside it. So Chromium lives for one module and not for the whole session.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    expect,
    sync_playwright,
)

from tests.e2e.stack import NAME, PASSWORD, ROOT, Stack

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
AXE = Path(__file__).parent / "vendor" / "axe-4.14.1.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
BARS = ROOT / "test-results" / "bars.json"
DESK, PHONE, ZOOMED = (1440, 900), (390, 844), (720, 450)
GUARD_MS = 450  # a dialog takes no Enter for its first 400 ms
OFFLINE = r"net::ERR_|Failed to fetch"  # what Chromium says by itself when a server is away
REFUSED = r"status of (403|404|409|410|422)"  # and when one says no
expect.set_options(timeout=15_000)
_bars: dict[str, float] = {}


class Web:
    """One person's browser: a profile with cookies, and pages in it."""

    def __init__(self, chromium: Browser, port: int, cookies: Any) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self._chromium = chromium
        self._cookies = cookies
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []
        self.allowed: list[str] = []

    def allow(self, pattern: str) -> None:
        """Complaints that the test itself provokes."""
        self.allowed.append(pattern)

    def context(
        self, size: tuple[int, int] = DESK, *, signed_in: bool = True, **options: Any
    ) -> BrowserContext:
        made = self._chromium.new_context(
            base_url=self.base,
            viewport={"width": size[0], "height": size[1]},
            storage_state=self._cookies if signed_in else None,
            **options,
        )
        made.set_default_timeout(15_000)
        made.on("console", self._hear)
        made.on("weberror", lambda error: self.complaints.append(f"thrown: {error.error}"))
        made.on("request", lambda request: self._look_at(request.url))
        self._contexts.append(made)
        return made

    def open(self, path: str, size: tuple[int, int] = DESK, **options: Any) -> Page:
        """A page of a new profile."""
        page = self.context(size, **options).new_page()
        page.goto(path)
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error" or "Content Security Policy" in message.text:
            self.complaints.append(f"{message.page and message.page.url}: {message.text}")

    def _look_at(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss") and not url.startswith(self.base):
            self.complaints.append(f"left the host: {url}")

    def close(self) -> None:
        for context in self._contexts:
            context.close()

    @property
    def unexpected(self) -> list[str]:
        return [c for c in self.complaints if not any(re.search(p, c) for p in self.allowed)]


# Fixtures, imported by conftest


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def cookies(chromium: Browser, shared_stack: Stack) -> Any:
    """The cookies of somebody who has signed in through the form."""
    context = chromium.new_context(base_url=f"http://127.0.0.1:{shared_stack.ports['MESHUI_PORT']}")
    page = context.new_page()
    sign_in(page, NAME)
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def web(chromium: Browser, stack: Stack, cookies: Any) -> Iterator[Web]:
    person = Web(chromium, stack.ports["MESHUI_PORT"], cookies)
    yield person
    person.close()
    assert not person.unexpected, "\n".join(person.unexpected)


# What people do


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.goto("/login/")
    page.fill("[name=username]", name)
    page.fill("[name=password]", password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("summary[aria-label^=Account]")).to_be_visible()


def pill(page: Page) -> Locator:
    return page.locator("#status")


def connection(page: Page) -> Locator:
    return page.locator("#conn")


def live(page: Page) -> None:
    """Wait until the page follows the stream."""
    expect(connection(page)).to_have_attribute("data-s", "live")


def press(page: Page, key: str) -> Locator:
    """Press a key that opens a dialog; returns the dialog, which takes an Enter by now."""
    page.keyboard.press(key)
    dialog = page.locator("#dlg")
    expect(dialog).to_be_visible()
    page.wait_for_timeout(GUARD_MS)
    return dialog


def until(holds: Callable[[], object], within_s: float, what: str) -> float:
    """Wait in the page's own time: Playwright hears nothing while we sleep. Returns the seconds."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began <= within_s, f"not within {within_s:g} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - began


# What pages are held to


@cache
def _axe() -> str:
    return AXE.read_text()


def violations(page: Page) -> list[str]:
    """What axe finds; the page's profile must bypass the policy, or axe could not run."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_axe())
    found = page.evaluate(
        "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", RULES
    )
    return [
        f"{rule['id']}: {node['target']} {node['html'][:160]} {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def write_bar(name: str, value: float) -> None:
    """Keep a measured time for whoever reads the results; times are never asserted here."""
    _bars[name] = round(value, 1)
    BARS.parent.mkdir(exist_ok=True)
    BARS.write_text(json.dumps(_bars, indent=1, sort_keys=True))
