"""The control endpoint, POST /meshui-fake/<verb>, and ``Fake``, its client for tests.

Verbs change what the fake does or tell what it holds; they are not recorded as calls of AWS.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from tests.fakeaws import calls, inject, world

PREFIX = "/meshui-fake/"
Verb = Callable[[dict[str, Any]], Any]
VERBS: dict[str, Verb] = {}


def verb(name: str) -> Callable[[Verb], Verb]:
    """Answer POST /meshui-fake/``name`` with what the function returns."""

    def added(function: Verb) -> Verb:
        VERBS[name] = function
        return function

    return added


def answer(name: str, body: bytes) -> tuple[int, bytes]:
    """HTTP status and JSON body of one verb."""
    if name not in VERBS:
        return 404, json.dumps({"error": f"no verb {name!r}", "verbs": sorted(VERBS)}).encode()
    try:
        asked = json.loads(body or b"{}")
        with world.LOCK:
            world.tick()
            told = VERBS[name](asked)
    except (ValueError, KeyError, TypeError) as error:
        return 400, json.dumps({"error": f"{type(error).__name__}: {error}"}).encode()
    return 200, json.dumps({} if told is None else told, default=str).encode()


@verb("reset")
def _reset(asked: dict[str, Any]) -> None:
    inject.clear()
    calls.log.clear()
    world.reset()


@verb("inject")
def _inject(asked: dict[str, Any]) -> None:
    known = {rule_field.name for rule_field in fields(inject.Rule) if rule_field.init}
    if unknown := set(asked) - known:
        raise KeyError(f"unknown: {', '.join(sorted(unknown))}")
    inject.rules.append(inject.Rule(**asked))


@verb("clear")
def _clear(asked: dict[str, Any]) -> None:
    inject.clear()


@verb("calls")
def _calls(asked: dict[str, Any]) -> list[dict[str, Any]]:
    return calls.listed()


@verb("calls-reset")
def _calls_reset(asked: dict[str, Any]) -> None:
    calls.log.clear()


@verb("fail-family")
def _fail_family(asked: dict[str, Any]) -> None:
    inject.FAIL_FAMILIES[asked["family"]] = asked["reason"]


@verb("crash-family")
def _crash_family(asked: dict[str, Any]) -> None:
    inject.CRASHES[asked["family"]] = int(asked.get("exit_code", 1))


@verb("unhealthy-family")
def _unhealthy_family(asked: dict[str, Any]) -> None:
    inject.UNHEALTHY.add(asked["family"])


@verb("fail-image")
def _fail_image(asked: dict[str, Any]) -> None:
    inject.FAIL_IMAGES[asked["image"]] = asked["reason"]


@verb("fail-resource")
def _fail_resource(asked: dict[str, Any]) -> None:
    inject.FAIL_RESOURCES[asked["logical_id"]] = asked["reason"]


@verb("fail-build")
def _fail_build(asked: dict[str, Any]) -> None:
    inject.FAIL_BUILDS[asked["project"]] = asked.get("phase", "BUILD")


@verb("pass")
def _pass(asked: dict[str, Any]) -> None:
    world.skip(float(asked["seconds"]))


@verb("speeds")
def _speeds(asked: dict[str, Any]) -> dict[str, float]:
    for name in ("task", "stack"):
        if name in asked:
            setattr(world.speeds, name, float(asked[name]))
    return dict(vars(world.speeds))


class Fake:
    """A running fake at ``url``, as tests hold it. Methods are the verbs."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, name: str, asked: Mapping[str, Any] | None = None) -> Any:
        """Raises urllib.error.HTTPError when the fake refuses."""
        request = urllib.request.Request(
            self.url + PREFIX + name, json.dumps(dict(asked or {})).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=30) as answered:
            return json.load(answered)

    def reset(self) -> None:
        self.ask("reset")

    def inject(self, service: str = "*", operation: str = "*", *, error: str, **how: Any) -> None:
        """``how``: rate (0 to 1), times (None: for ever), seed, seconds (of silence)."""
        self.ask("inject", {"service": service, "operation": operation, "error": error} | how)

    def clear(self) -> None:
        self.ask("clear")

    def calls(self) -> list[dict[str, Any]]:
        """[{service, operation, at, outcome, injected, took_effect, request}], oldest first."""
        return list(self.ask("calls"))

    def calls_reset(self) -> None:
        self.ask("calls-reset")

    def fail_family(self, family: str, reason: str) -> None:
        self.ask("fail-family", {"family": family, "reason": reason})

    def crash_family(self, family: str, exit_code: int = 1) -> None:
        """Its tasks end as soon as they are RUNNING, until ``clear``."""
        self.ask("crash-family", {"family": family, "exit_code": exit_code})

    def unhealthy_family(self, family: str) -> None:
        """Its tasks run, fail their health check and are replaced, until ``clear``."""
        self.ask("unhealthy-family", {"family": family})

    def fail_image(self, image: str, reason: str) -> None:
        self.ask("fail-image", {"image": image, "reason": reason})

    def fail_resource(self, logical_id: str, reason: str) -> None:
        self.ask("fail-resource", {"logical_id": logical_id, "reason": reason})

    def fail_build(self, project: str, phase: str = "BUILD") -> None:
        self.ask("fail-build", {"project": project, "phase": phase})

    def settle(self) -> None:
        """Make every task what it wants to be, now: RUNNING and HEALTHY, or STOPPED."""
        self.ask("settle")

    def speeds(self, **seconds: float) -> dict[str, float]:
        """Set ``task`` (seconds a stage) and ``stack`` (seconds a resource)."""
        return dict(self.ask("speeds", seconds))

    def pass_(self, seconds: float) -> None:
        """Let ``seconds`` of every life cycle pass now: with slow speeds, no test needs luck."""
        self.ask("pass", {"seconds": seconds})

    def leftovers(self) -> dict[str, list[str]]:
        """Kind of resource → names of those that still exist; kinds without any are left out."""
        return dict(self.ask("leftovers"))
