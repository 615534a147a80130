"""Every page, held to the bars: axe, bytes, sideways scroll, what stays in view, paper.

Times are measured and written to test-results/bars.json, not asserted: machines differ.
"""

import gzip
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Response, expect

from tests.e2e.browser import (
    DESK,
    PHONE,
    REFUSED,
    ZOOMED,
    Web,
    live,
    pill,
    press,
    until,
    violations,
    write_bar,
)
from tests.e2e.session import WebSession
from tests.e2e.stack import SERVICE, Stack
from tests.e2e.test_browser_rollout import LONG, begin, newest_sample

pytestmark = [pytest.mark.stack, pytest.mark.browser, pytest.mark.timeout(180)]

PLACE = f"/services/{SERVICE}"
PAGES = [
    "/", f"{PLACE}/", f"{PLACE}/deploy/", f"{PLACE}/edit/", f"{PLACE}/versions/add/",
    f"{PLACE}/automatic/", "/services/add/", "/rollouts/", "/audit/", "/account/",
    "/infrastructure/", "/infrastructure/local/local/", "/infrastructure/local/local/delete/",
    "/no-such-page/",
]  # fmt: skip
ADMIN = ["/admin/", "/admin/rollouts/rollout/", "/admin/rollouts/service/"]
LOOKS = [(DESK, "light"), (DESK, "dark"), (PHONE, "dark"), (PHONE, "light")]
WHOLE = 0.95  # of an element; half pixels are rounded away
ROLLOUT_KB, ROLLOUT_JS_KB, OTHER_KB, OTHER_JS_KB = 120, 60, 70, 25
SHIFT = """() => new Promise(done => {
  let sum = 0;
  new PerformanceObserver(list => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
  }).observe({type: 'layout-shift', buffered: true});
  setTimeout(() => done(sum), 100);
})"""
PAINT = """() => new Promise(done => {
  new PerformanceObserver(list => done(list.getEntries().at(-1).startTime))
    .observe({type: 'largest-contentful-paint', buffered: true});
})"""


def in_every_look(page: Page) -> Iterator[str]:
    """Both themes on a desk and on a phone; yields the name of the look."""
    for size, scheme in LOOKS:
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        yield f"{scheme} {size[0]}"


def check(page: Page, what: str) -> list[str]:
    """axe in every look. A colour on its way to the other theme is not one to be judged."""
    page.add_style_tag(content="*, ::before, ::after { transition: none !important }")
    return [f"{what}, {look}: {v}" for look in in_every_look(page) for v in violations(page)]


def sideways(page: Page) -> int:
    """By how many pixels the page is wider than the screen."""
    root = "document.documentElement"
    return int(page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"))


def test_axe_finds_nothing_on_any_page_at_rest(stack: Stack, web: Web) -> None:
    web.allow(REFUSED)
    found = []
    page = web.context(bypass_csp=True).new_page()
    for path in [*PAGES, *ADMIN]:
        page.goto(path)
        found += check(page, path)
    page.goto("/")
    page.keyboard.press("?")
    found += check(page, "keyboard shortcuts")
    stranger = web.context(bypass_csp=True, signed_in=False).new_page()
    stranger.goto("/login/")
    found += check(stranger, "sign in")
    assert not found, "\n".join(found)


def test_axe_finds_nothing_on_a_rollout_in_any_state(
    stack: Stack, who: WebSession, web: Web
) -> None:
    page = web.context(bypass_csp=True).new_page()
    rollout = stack.deploy(who, "1.0", LONG)
    page.goto(f"/rollouts/{rollout}/")
    expect(pill(page)).to_have_text("Baking at 50 %")
    expect(page.locator("#plot-split canvas")).to_be_visible()
    found = check(page, "live")
    for key, what in (("r", "rollback dialog"), ("p", "pause dialog")):
        press(page, key)
        found += check(page, what)
        page.keyboard.press("Escape")
    page.goto(f"/admin/rollouts/rollout/{rollout}/change/")
    expect(page.locator(".now")).to_contain_text("Progressing.")
    found += check(page, "admin, change page")
    for path in (f"/admin/rollouts/rollout/{rollout}/rollback/", f"{PLACE}/deploy/"):
        page.goto(path)
        found += check(page, path)
    who.post(f"/rollouts/{rollout}/rollback/", reason="for axe")
    for path in (f"/rollouts/{rollout}/", f"/rollouts/{rollout}/report/", f"{PLACE}/"):
        page.goto(path)
        found += check(page, f"rolled back: {path}")
    rollout = stack.deploy(who, "1.0", "100")
    stack.until_rollout(rollout, phase="succeeded")
    page.goto(f"/rollouts/{rollout}/")
    expect(pill(page)).to_have_text("Complete")
    found += check(page, "complete")
    assert not found, "\n".join(found)


class Weighed:
    """Counts the bytes of bodies on the wire while a page loads for the first time."""

    def __init__(self, page: Page) -> None:
        self.bodies: dict[str, int] = {}
        self._waiting: list[Response] = []
        page.context.on("response", lambda response: self._waiting.append(response))
        self._page = page

    def total(self) -> tuple[float, float]:
        """All of it and the scripts, in KB. The stream has no length and is not counted."""
        worker = self._page.locator("script[data-worker]")
        if worker.count():  # Playwright does not see what a shared worker asks for
            path = worker.get_attribute("data-worker") or ""
            body = self._page.request.get(path).body()
            self.bodies[path] = len(gzip.compress(body))
        for response in self._waiting:
            if "/events/" not in response.url:
                self.bodies[response.url] = response.request.sizes()["responseBodySize"]
        scripts = sum(size for url, size in self.bodies.items() if url.endswith(".js"))
        return sum(self.bodies.values()) / 1000, scripts / 1000


@pytest.mark.parametrize("path", [*PAGES[:-1], "/login/"])
def test_a_first_load_is_small(web: Web, path: str) -> None:
    page = web.context(signed_in=path != "/login/").new_page()
    weighed = Weighed(page)
    page.goto(path, wait_until="load")
    total, scripts = weighed.total()
    write_bar(f"kb {path}", total)
    assert total <= OTHER_KB
    assert scripts <= OTHER_JS_KB
    assert page.evaluate(SHIFT) <= 0.01


def test_a_rollout_page_is_small_still_and_soon_there(
    stack: Stack, who: WebSession, web: Web
) -> None:
    rollout = stack.deploy(who, "1.0", LONG)
    stack.until_rollout(rollout, phase="progressing", stage="hold")
    page = web.context().new_page()
    weighed = Weighed(page)
    page.goto(f"/rollouts/{rollout}/", wait_until="load")
    expect(page.locator("#plot-split canvas")).to_be_visible()
    live(page)
    total, scripts = weighed.total()
    write_bar("kb rollout", total)
    write_bar("kb rollout, scripts", scripts)
    write_bar("lcp_ms", page.evaluate(PAINT))
    ready = "performance.getEntriesByName('chart-ready')[0].startTime"
    write_bar("chart_ready_ms", page.evaluate(ready))
    assert total <= ROLLOUT_KB
    assert scripts <= ROLLOUT_JS_KB

    tools = page.context.new_cdp_session(page)
    tools.send("Performance.enable")

    def metric(name: str) -> float:
        tools.send("HeapProfiler.collectGarbage")
        metrics = tools.send("Performance.getMetrics")["metrics"]
        return float(next(m["value"] for m in metrics if m["name"] == name))

    heap, busy, sample = metric("JSHeapUsedSize"), metric("TaskDuration"), newest_sample(page)
    took = until(lambda: newest_sample(page) > sample + 60, 30, "some seconds of samples")
    write_bar("main_thread_ms_per_s", (metric("TaskDuration") - busy) * 1000 / took)
    assert metric("JSHeapUsedSize") - heap < 2_000_000
    assert page.evaluate("document.querySelectorAll('*').length") <= 2500
    assert page.locator("#reqs tr").count() <= 80
    assert page.evaluate(SHIFT) <= 0.05


def test_no_page_scrolls_sideways(stack: Stack, who: WebSession, web: Web) -> None:
    web.allow(REFUSED)
    rollout = stack.deploy(who, "1.0", LONG)
    stack.until_rollout(rollout, phase="progressing", stage="hold")
    live_pages = [f"/rollouts/{rollout}/{verb}" for verb in ("", "rollback/", "report/")]
    page = web.open("/")
    found = []
    for path in [*live_pages, *PAGES]:
        page.goto(path)
        for width in (320, 390, 1440):
            page.set_viewport_size({"width": width, "height": 800})
            if (by := sideways(page)) > 0:
                found.append(f"{path} at {width}: {by} px")
    assert not found, "\n".join(found)


def test_rollback_stays_in_view_on_a_phone_and_at_double_zoom(
    stack: Stack, who: WebSession, web: Web
) -> None:
    page = begin(stack, who, web)
    for size in (DESK, PHONE, ZOOMED, (320, 568)):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        for place in (0, 100_000):
            page.evaluate(f"scrollTo(0, {place})")
            expect(page.locator("#rb")).to_be_in_viewport(ratio=WHOLE)
            box = page.locator("#rb").bounding_box()
            assert box is not None
            assert box["height"] >= (44 if size[0] < 640 else 36)
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    page.locator("#rb").click()
    expect(page.locator("#dlg [data-act]")).to_be_in_viewport(ratio=WHOLE)


def test_paper_has_the_verdict_and_no_buttons(stack: Stack, who: WebSession, web: Web) -> None:
    page = begin(stack, who, web)
    for path in (page.url, f"{page.url}report/"):
        page.goto(path)
        page.emulate_media(media="print")
        expect(page.locator(".verdict").first).to_be_visible()
        expect(page.locator(".tl li").first).to_be_visible()
        for button in page.locator("a.btn, button, summary.btn").all():
            expect(button).not_to_be_visible()


def test_nothing_turns_for_those_who_asked_for_less_motion(
    stack: Stack, who: WebSession, web: Web
) -> None:
    page = begin(stack, who, web)
    turns = "getComputedStyle(document.querySelector('.spin')).animationName"
    assert page.evaluate(turns) != "none"
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(turns) == "none"


def test_filters_of_the_history_live_in_the_address(
    stack: Stack, who: WebSession, web: Web
) -> None:
    page = begin(stack, who, web)
    rollout = re.findall(r"\d+", page.url)[-1]
    page.goto("/rollouts/")
    page.get_by_label("State").select_option(label="Under way")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**/rollouts/?*status=*")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name=f"#{rollout}", exact=True).click()
    page.go_back()
    expect(page.locator("tbody tr")).to_have_count(1)
