"""The main job in a browser: sign in, deploy, watch, steer, roll back."""

import re
import time

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import DESK, GUARD_MS, REFUSED, Web, live, pill, press, until, write_bar
from tests.e2e.session import WebSession
from tests.e2e.stack import SERVICE, Stack

pytestmark = [pytest.mark.stack, pytest.mark.browser, pytest.mark.timeout(120)]

LONG = "50:600s, 100"


def newest_sample(page: Page) -> int:
    return int(page.locator("#reqs tr").first.get_attribute("data-id") or 0)


def begin(stack: Stack, who: WebSession, web: Web, plan: str = LONG, label: str = "50 %") -> Page:
    """A page on a rollout that holds at its first weight."""
    page = web.open(f"/rollouts/{stack.deploy(who, '1.0', plan)}/")
    expect(pill(page)).to_have_text(f"Baking at {label}")
    live(page)
    return page


def number(page: Page) -> int:
    return int(page.url.rstrip("/").rpartition("/")[2])


def test_the_one_time_link_signs_in_once(stack: Stack, web: Web) -> None:
    web.allow(REFUSED)
    link = "/enter/" + stack.manage("enter").stdout.strip().partition("/enter/")[2]
    page = web.open(link, signed_in=False)
    page.get_by_role("button", name="Enter").click()
    expect(page.get_by_role("heading", name="Services", exact=True)).to_be_visible()
    again = web.open(link, signed_in=False)
    expect(again.locator("h1")).to_have_text("This link does not work any more")


def test_somebody_deploys_watches_and_rolls_back(stack: Stack, web: Web) -> None:
    page = web.open("/")
    page.get_by_text("Deploy", exact=True).click()
    page.locator(".acts-bar").get_by_role("link", name=SERVICE).click()
    page.locator("label[data-label='1.0'] input").check()
    plan = page.locator("#plan")
    page.get_by_role("radio", name=re.compile("^Canary")).check()
    expect(plan).to_contain_text("Shift to 25 %")
    expect(plan).to_contain_text("about 3 m")
    page.locator("#id_steps").fill(LONG)
    expect(plan).not_to_contain_text("Shift to 25 %")
    expect(plan).to_contain_text("Bake10 m 00 s")
    page.get_by_role("button", name="Deploy 1.0").click()
    page.wait_for_url("**/rollouts/*/")
    expect(pill(page)).to_have_text("Baking at 50 %")
    expect(page.locator(".tl li.current")).to_contain_text("Bake for 10 min")
    expect(page.locator("#plot-split canvas")).to_be_visible()
    live(page)
    began, sample, rows = page.locator("#readout").inner_text(), newest_sample(page), "#reqs tr"
    until(lambda: newest_sample(page) > sample + 4, 15, "new rows on top of the sample")
    until(lambda: page.locator("#readout").inner_text() != began, 15, "a new point in the chart")
    expect(page.locator(rows).first).to_contain_text("Response from the server: Hello, ")
    until(lambda: "1.0" in page.locator("#reqs").inner_text(), 15, "an answer of 1.0")

    dialog = press(page, "r")
    expect(dialog.locator("h2")).to_have_text(f"Roll back {SERVICE} to 0.9?")
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()
    expect(page.locator("#rb")).to_be_focused()

    press(page, "r")
    asked = time.monotonic()
    page.keyboard.press("Enter")
    expect(pill(page)).to_have_text(re.compile("Rollback requested|Rolling back|Rolled back"))
    write_bar("enter_to_requested_ms", (time.monotonic() - asked) * 1000)
    expect(pill(page)).to_have_text("Rolled back to 0.9")
    expect(page.locator(".verdict").first).to_contain_text(
        f"Automatic deploys of {SERVICE} are off."
    )
    expect(page.locator("#rb")).to_have_count(0)
    assert stack.weights() == {"0.9": 100}
    page.goto(f"/services/{SERVICE}/")
    expect(page.locator("#automatic .pill")).to_have_text("Off")


def test_a_double_enter_opens_the_question_and_does_not_answer_it(
    stack: Stack, who: WebSession, web: Web
) -> None:
    page = begin(stack, who, web)
    page.locator("#rb").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#dlg [data-act]")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_timeout(GUARD_MS)
    expect(page.locator("#dlg")).to_be_visible()
    assert stack.rollout(number(page))["phase"] == "progressing"


def test_the_reason_is_in_the_activity_and_in_the_audit(
    stack: Stack, who: WebSession, web: Web
) -> None:
    page = begin(stack, who, web)
    dialog = press(page, "r")
    dialog.get_by_label(re.compile("^Reason")).fill("answers look odd")
    page.keyboard.press("Enter")
    expect(pill(page)).to_have_text("Rolled back to 0.9")
    expect(page.locator("#activity")).to_contain_text("answers look odd")
    page.goto(f"/audit/?object=%23{number(page)}")
    by_ada = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="ada"))
    row = by_ada.filter(has_text="answers look odd")
    expect(row.get_by_role("cell").last).to_have_text("web")


def seconds_left(stack: Stack, page: Page) -> float:
    return float(stack.rollout(number(page))["left"])


def test_resume_goes_on_with_the_time_that_was_left(
    stack: Stack, who: WebSession, web: Web
) -> None:
    page = begin(stack, who, web)
    press(page, "p")
    page.keyboard.press("Enter")
    expect(pill(page)).to_have_text("Paused at 50 %")
    expect(page.locator(".tl li.paused")).to_contain_text("left when resumed")
    left, ticks = seconds_left(stack, page), stack.service()["ticks"]
    until(lambda: stack.service()["ticks"] > ticks + 4, 20, "some ticks pass")
    assert seconds_left(stack, page) == left
    assert stack.weights() == {"0.9": 50, "1.0": 50}
    press(page, "p")
    page.keyboard.press("Enter")
    expect(pill(page)).to_have_text("Baking at 50 %")
    assert left - 10 < seconds_left(stack, page) <= left


def test_promote_ends_one_step_and_abort_keeps_the_tasks(
    stack: Stack, who: WebSession, web: Web
) -> None:
    page = begin(stack, who, web, "25:600s, 50:600s, 100", "25 %")
    dialog = press(page, "Shift+P")
    expect(dialog.locator("h2")).to_have_text("Send 50 % to 1.0 now?")
    page.keyboard.press("Enter")
    expect(pill(page)).to_have_text("Baking at 50 %")
    page.get_by_text("More", exact=True).click()
    page.get_by_role("link", name="Abort, keep 1.0 running").click()
    expect(page.locator("#dlg")).to_contain_text("1.0 keeps its tasks")
    page.wait_for_timeout(GUARD_MS)
    page.get_by_role("button", name="Abort, keep 1.0").click()
    expect(pill(page)).to_have_text("Rolled back to 0.9")
    assert [task["healthy"] for task in stack.tasks("1.0")] == [True, True]


def test_a_complete_rollout_is_rolled_back_to_the_warm_version(
    stack: Stack, who: WebSession, web: Web
) -> None:
    page = web.open(f"/rollouts/{stack.deploy(who, '1.0', '100')}/")
    expect(pill(page)).to_have_text("Complete")
    expect(page.locator("#rb")).to_have_text("Roll back to 0.9")
    dialog = press(page, "r")
    expect(dialog).to_contain_text("0.9 is warm: one weight write.")
    done = page.url
    dialog.get_by_role("button", name="Roll back to 0.9 now").click()
    page.wait_for_url(lambda url: url != done)
    expect(pill(page)).to_have_text("Complete")
    assert stack.weights() == {"0.9": 100}


# Reading


def test_the_chart_is_read_with_arrow_keys_and_as_a_table(
    stack: Stack, who: WebSession, web: Web
) -> None:
    page = begin(stack, who, web)
    expect(page.locator("#plot-split canvas")).to_be_visible()
    page.locator("#plot-split").focus()
    readout = page.locator("#readout")
    page.keyboard.press("End")
    last = readout.inner_text()
    expect(readout).to_have_attribute("aria-live", "polite")
    page.keyboard.press("ArrowLeft")
    expect(readout).not_to_have_text(last)
    assert readout.inner_text() < last  # both begin with the time
    page.get_by_text("Show as a table").click()
    expect(page.get_by_role("columnheader", name="1.0 observed")).to_be_visible()


def test_freeze_and_filters_hold_the_sample_still(stack: Stack, who: WebSession, web: Web) -> None:
    page = begin(stack, who, web)
    page.keyboard.press("f")
    expect(page.locator("#freeze")).to_have_attribute("aria-pressed", "true")
    top = newest_sample(page)
    expect(page.locator("#freeze")).to_have_text(re.compile(r"Follow \([1-9]\d* new\)"))
    assert newest_sample(page) == top
    page.keyboard.press("f")
    until(lambda: newest_sample(page) > top, 5, "the rows that waited")
    only = page.locator("#filter").get_by_role("button", name="1.0")
    only.click()
    shown = page.locator("#reqs tr:not([hidden]) .ver")
    until(lambda: shown.count() > 2, 10, "rows of 1.0")
    assert set(shown.all_inner_texts()) == {"1.0"}
    page.locator("#filter").get_by_role("button", name="Errors").click()
    expect(page.locator("#req-empty")).to_have_text(re.compile("No errors among the last"))
    page.locator("#filter").get_by_role("button", name="All").click()
    page.locator("#reqbox").hover()
    top = newest_sample(page)
    expect(page.locator("#freeze")).to_have_text("Freeze")
    page.wait_for_timeout(1500)  # the time in which about eight rows come
    assert newest_sample(page) == top


def test_errors_stand_out_and_can_be_looked_at_alone(
    stack: Stack, who: WebSession, web: Web
) -> None:
    stack.add_version(who, "broken", ERROR_SHARE="1")
    page = web.open(f"/rollouts/{stack.deploy(who, 'broken', LONG)}/")
    expect(page.locator("#reqs tr.err").first).to_be_attached()
    page.locator("#filter").get_by_role("button", name="Errors").click()
    shown = page.locator("#reqs tr:not([hidden])")
    until(lambda: shown.count() > 1, 10, "two rows of errors")
    assert page.locator("#reqs tr:not([hidden]):not(.err)").count() == 0
    assert "200" not in shown.locator(".st").all_inner_texts()
    expect(page.locator(".verdict").first).to_contain_text("Requests fail")


def ink_of_chart(page: Page) -> list[int]:
    """Colour of the pixel in the middle of the chart's old share, from the canvas itself."""
    found: list[int] = page.evaluate(
        """() => {
          const canvas = document.querySelector('#plot-split canvas');
          const pen = canvas.getContext('2d');
          return [...pen.getImageData(canvas.width - 60, 30, 1, 1).data];
        }"""
    )
    return found


def test_the_theme_and_the_zone_change_at_once_and_stay(
    stack: Stack, who: WebSession, web: Web
) -> None:
    began = stack.deploy(who, "1.0", LONG)
    page = web.open(f"/rollouts/{began}/", DESK, timezone_id="Asia/Kolkata", color_scheme="light")
    expect(page.locator("#plot-split canvas")).to_be_visible()
    expect(pill(page)).to_have_text("Baking at 50 %")
    light = ink_of_chart(page)
    page.locator("#theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.locator("#theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    until(lambda: ink_of_chart(page) != light, 5, "other colours in the chart")
    when = page.locator(".meta time")
    utc = when.inner_text()
    assert utc.endswith(" UTC")
    page.locator("#tz").click()
    expect(page.locator("#tz")).to_have_text("Local")
    minute = (int(utc[3:5]) + 30) % 60  # India is 5 h 30 min ahead
    assert int(when.inner_text()[3:5]) == minute
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator("#tz")).to_have_text("Local")


def test_everything_is_reached_by_keyboard(stack: Stack, who: WebSession, web: Web) -> None:
    page = begin(stack, who, web)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to actions")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#actions")).to_be_focused()
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim()"))
    assert reached == ["Pause", "Promote", "More", "Roll back to 0.9"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Report")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Report")).not_to_be_visible()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("s")
    page.wait_for_url("**/")
    expect(page.get_by_role("heading", name="Services", exact=True)).to_be_visible()
