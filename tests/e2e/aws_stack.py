"""The whole product on the fake AWS, as ``make up AWS=fake`` starts it: tasks are processes here.

Steered through its web pages, as in ``stack``; the fake's control endpoint says what is left.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.session import Page, WebSession
from tests.e2e.stack import NAME, PASSWORD, START_S, Row, Stack
from tests.fakeaws.control import Fake
from tests.ports import free_port

MESH = "echo"
SERVICE = "echo-echo-server"
STACKS = ("infra", "mesh", "app")
MAKE_S = 60.0


class AwsStack(Stack):
    """``manage.py up`` with MESHUI_AWS_FAKE; its mesh is registered and nothing of it is made."""

    def __init__(self, state: Path, **environment: str) -> None:
        ports = {"MESHUI_AWS_FAKE_PORT": free_port(), "MESHUI_XDS_TLS_PORT": free_port()}
        super().__init__(
            state,
            **{
                "MESHUI_AWS_FAKE": "1",
                "AWS_DEFAULT_REGION": "eu-west-1",
                "MESHUI_FAKE_TASK_SECONDS": "0.1",
                "MESHUI_FAKE_STACK_SECONDS": "0.02",
                **{name: str(port) for name, port in ports.items()},
                **environment,
            },
        )
        for name in [n for n in self.env if n.startswith("AWS_") and n != "AWS_DEFAULT_REGION"]:
            del self.env[name]  # a developer's credentials, an address of another fake
        self.ports |= ports
        self.fake = Fake(f"http://127.0.0.1:{ports['MESHUI_AWS_FAKE_PORT']}")

    def start(self) -> None:
        """Start, and wait until somebody can sign in."""
        self.launch()
        self.until(lambda: self._there("web"), START_S, "the dashboard is up")
        self.manage(
            "createsuperuser", "--noinput", "--username", NAME, "--email", "ada@example.org",
            DJANGO_SUPERUSER_PASSWORD=PASSWORD,
        )  # fmt: skip

    # Stacks

    def stack(self, name: str) -> Row:
        (row,) = self.rows(
            "SELECT s.* FROM rollouts_stack s JOIN rollouts_mesh m ON m.id = s.mesh_id"
            " WHERE m.slug = ? AND s.name = ?", MESH, name,
        )  # fmt: skip
        return row

    def until_stack(self, name: str, phase: str) -> None:
        ends = {phase, "failed"}
        self.until(lambda: self.stack(name)["phase"] in ends, MAKE_S, f"{name} is {phase}")
        found = self.stack(name)
        assert found["phase"] == phase, found["reason"]

    def create(self, who: WebSession, name: str) -> None:
        """Preview, look, apply, wait."""
        place = f"/infrastructure/{MESH}/{name}/"
        done(who.post(f"{place}propose/"))
        self.until_stack(name, "proposed")
        proposal = json.loads(self.stack(name)["proposal"])
        assert not proposal["problems"], proposal["problems"]
        done(who.post(f"{place}apply/", change_set=proposal["change_set"]))
        self.until_stack(name, "ready")

    def destroy_stack(self, who: WebSession, name: str) -> None:
        done(who.post(f"/infrastructure/{MESH}/{name}/delete/", typed_name=name))
        self.until_stack(name, "absent")

    def outputs(self) -> dict[str, str]:
        return {k: v for name in STACKS for k, v in json.loads(self.stack(name)["outputs"]).items()}

    # Versions

    def add_image(self, who: WebSession, tag: str) -> None:
        """A version of the image that has this tag."""
        page = who.post(f"/services/{SERVICE}/builds/add/", kind="existing", image=tag, label=tag)
        number = int(done(page).location.strip("/").split("/")[-1])

        def phase() -> str:
            return str(self.rows("SELECT * FROM rollouts_build WHERE id = ?", number)[0]["phase"])

        self.until(lambda: phase() in ("succeeded", "failed"), 20, f"the image {tag} is found")
        assert phase() == "succeeded", self.rows("SELECT * FROM rollouts_build")

    def deploy_image(self, who: WebSession, label: str, steps: str) -> int:
        number = self.version(label, SERVICE)["number"]
        page = who.post(f"/services/{SERVICE}/deploy/", version=str(number), strategy="custom",
                        steps=steps)  # fmt: skip
        return int(done(page).location.strip("/").split("/")[-1])

    def endpoint_port(self) -> int:
        """Of the public load balancer, which the fake plays on loopback."""
        return int(self.outputs()["Endpoint"].rpartition(":")[2].strip("/"))

    def answer(self) -> str:
        """What the public endpoint of the mesh says now; "" unless it is a 200."""
        self.ports["MESHUI_PUBLIC_PORT"] = self.endpoint_port()
        return super().answer()


def done(page: Page) -> Page:
    """What a form that was accepted answers."""
    assert page.status == 302, f"refused: {page.status} {page.body[-3000:]}"
    return page


@contextmanager
def running_on_aws(state: Path, **environment: str) -> Iterator[AwsStack]:
    """A stack that is up, and surely gone afterwards."""
    stack = AwsStack(state, **environment)
    try:
        stack.start()
        yield stack
    finally:
        stack.destroy()
