"""A mesh on the fake AWS, all real but AWS: Envoy beside each caller, mTLS, gRPC, Celery."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.aws.outsider import AWS, Cli
from tests.e2e.aws_stack import MAKE_S, SERVICE, STACKS, AwsStack, running_on_aws
from tests.e2e.browser import Web, sign_in
from tests.e2e.stack import NAME
from tests.e2e.test_browser_pages import check

pytestmark = [pytest.mark.stack, pytest.mark.browser, pytest.mark.timeout(400)]


def shares(stack: AwsStack, number: int = 100) -> Counter[str]:
    """Who answers, by label; "error" for everything else."""
    counted: Counter[str] = Counter()
    for _ in range(number):
        text = stack.answer()
        counted[text.rpartition("Version ")[2].rstrip(")\n") if text else "error"] += 1
    return counted


def test_from_provisioning_to_nothing_left(tmp_path: Path, chromium: Browser) -> None:
    with running_on_aws(tmp_path / "aws") as stack:
        who = stack.web_session()
        web = Web(chromium, stack.ports["MESHUI_PORT"], None)
        page = web.context(bypass_csp=True).new_page()
        sign_in(page, NAME)
        found = _make_the_first(page)
        for name in STACKS[1:]:
            stack.create(who, name)
        for tag in ("0.9", "1.0", "1.1-broken"):
            stack.add_image(who, tag)
        stack.until(
            lambda: len(stack.rows("SELECT 1 FROM rollouts_proxy WHERE connected = 1")) == 2,
            60, "both Envoys have been let in",
        )  # fmt: skip

        first = stack.deploy_image(who, "0.9", "100")
        stack.until_rollout(first, 90, phase="succeeded")
        stack.until(lambda: "Version 0.9)" in stack.answer(), 30, "0.9 answers")

        second = stack.deploy_image(who, "1.0", "50:approval,100")
        stack.until_rollout(second, 90, phase="progressing", stage="approval")
        # Until Envoy has found the new tasks well itself, their requests go to stable.
        stack.until(lambda: "Version 1.0)" in stack.answer(), 20, "1.0 answers too")
        counted = shares(stack)
        assert counted.keys() == {"0.9", "1.0"}
        assert min(counted.values()) > 25, counted
        _outsider_agrees(stack, {"0.9", "1.0"})

        began = time.monotonic()
        assert who.post(f"/rollouts/{second}/rollback/", reason="the test says so").status == 302
        assert shares(stack, 50).keys() == {"0.9"}, "nothing asked after the answer meets 1.0"
        stack.until_rollout(second, 30, phase="rolled_back")
        assert time.monotonic() - began < 30

        broken = stack.deploy_image(who, "1.1-broken", "50,100")
        stack.until_rollout(broken, 120, phase="rolled_back")
        assert "CannotPullContainerError" in stack.rollout(broken)["reason"]
        assert "Image not found" in who.get(f"/rollouts/{broken}/").body
        assert shares(stack, 30).keys() == {"0.9"}

        for path in (
            "/infrastructure/", "/infrastructure/add/", "/infrastructure/echo/edit/",
            "/infrastructure/echo/app/", "/infrastructure/echo/app/delete/",
            f"/services/{SERVICE}/", f"/services/{SERVICE}/images/",
            f"/services/{SERVICE}/builds/add/", "/builds/1/", f"/services/{SERVICE}/messages/",
            f"/services/{SERVICE}/versions/add/", f"/rollouts/{second}/", f"/rollouts/{broken}/",
        ):  # fmt: skip
            page.goto(path)
            found += check(page, path)
        web.close()
        assert not found, "\n".join(found)
        assert not web.unexpected, "\n".join(web.unexpected)

        for name in reversed(STACKS):
            stack.destroy_stack(who, name)
        left = stack.fake.leftovers()
        assert left.keys() <= {"log-group"}, f"left behind: {left}"
        assert not [c for c in stack.commands() if "echo_services" in c or "envoy" in c]
        assert stack.service(SERVICE)["weights"] == "{}"


def _make_the_first(page: Page) -> list[str]:
    """The stack infra by clicks: preview, what it would make and cost, apply, live, ready."""
    page.goto("/infrastructure/")
    expect(page.get_by_text("FAKE AWS: nothing here is real.")).to_be_visible()
    page.goto("/infrastructure/echo/infra/")
    page.get_by_role("button", name="Preview").click()
    apply = page.get_by_role("button", name="Apply")
    expect(apply).to_be_visible(timeout=MAKE_S * 1000)
    expect(page.get_by_text("a month").first).to_be_visible()
    found = check(page, "what would be made")
    apply.click()
    # Nobody reloads: the page hears of it.
    expect(page.locator("#pill")).to_have_text("Ready", timeout=MAKE_S * 1000)
    expect(page.get_by_text("CREATE_COMPLETE").first).to_be_visible()
    return found + check(page, "made")


def _outsider_agrees(stack: AwsStack, labels: set[str]) -> None:
    if not AWS.exists():
        pytest.skip("the aws command line is not installed: `make awscli`")
    cli = Cli(stack.fake.url, stack.env["AWS_DEFAULT_REGION"])
    outputs = stack.outputs()
    sets = cli.task_sets(outputs["Cluster"], outputs["EchoServerService"])
    versions = {label: stack.version(label, SERVICE) for label in labels}
    assert {name: found[1:] for name, found in sets.items()} == {
        f"{SERVICE}--{row['id']}": (2, row["digest"]) for row in versions.values()
    }
    assert cli.stacks() == {f"echo-{name}": "CREATE_COMPLETE" for name in STACKS}
    cli.close()
