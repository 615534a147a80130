"""Tasks on the fake AWS, weights in memory: fixtures and what tests ask of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from rollouts import actions
from rollouts.domain.plan import Step
from rollouts.models import Mesh, Rollout, Service, Version
from rollouts.platforms import ecs_registry, ecs_sets, ecs_stopped
from tests.fakeaws import lifecycle
from tests.fakeaws.control import Fake
from tests.fakeaws.engine import Look

HALF = (Step(50, hold_s=60), Step(100))
WRITES = (
    "CreateTaskSet", "DeleteTaskSet", "UpdateTaskSet", "UpdateServicePrimaryTaskSet",
    "UpdateService", "RegisterTaskDefinition", "DeregisterTaskDefinition",
    "DeleteTaskDefinitions",
)  # fmt: skip


@pytest.fixture
def service(ecs_service: Service) -> Iterator[Service]:
    new_process()
    yield ecs_service
    new_process()


@pytest.fixture
def mesh(service: Service) -> Mesh:
    return service.mesh


def new_process() -> None:
    """Forget what a process remembers."""
    ecs_sets._tidy.clear()
    ecs_stopped._looked.clear()
    ecs_registry._known.clear()


@dataclass
class Side:
    """ECS as an outsider sees it, and ticks until something holds."""

    client: Callable[..., Any]
    fake: Fake
    service: Service
    tick: Callable[..., Service]
    ask: Callable[..., Any]

    def version(self, label: str) -> Version:
        return self.service.versions.get(label=label)

    def deploy(self, label: str) -> Rollout:
        service = Service.objects.get(pk=self.service.pk)
        return actions.request_deploy(
            service, self.version(label), plan=HALF, plan_name="Half", ask=self.ask()
        )

    def until(self, holds: Callable[[Service], Any], *, seconds: float = 1, times: int = 12
              ) -> Service:  # fmt: skip
        """Tick, ``seconds`` apart, with every task where it wants to be, until ``holds``."""
        for _ in range(times):
            self.fake.settle()
            now = self.tick(seconds)
            if holds(now):
                return now
        raise AssertionError(f"not in {times} ticks: {now.waiting or now.trouble or now.weights}")

    def finished(self, rollout: Rollout, **how: Any) -> Rollout:
        self.until(lambda _: not self.again(rollout).is_live, **how)
        return self.again(rollout)

    def again(self, rollout: Rollout) -> Rollout:
        return Rollout.objects.get(pk=rollout.pk)

    def held(self, rollout: Rollout) -> bool:
        return self.again(rollout).stage == "hold"

    def at_rest(self) -> Service:
        """Nothing but the stable version is wanted or there, and ECS says that it is steady."""
        self.until(lambda s: self.wanted() == {s.stable.label} if s.stable else not self.wanted(),
                   seconds=700)  # fmt: skip
        self.until(lambda _: self.versions_running() == self.wanted() and self.steady())
        return self.tick(1)

    def wanted(self) -> set[str]:
        return set(self.service.versions.filter(count__gt=0).values_list("label", flat=True))

    def described(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client("ecs").describe_services(
            cluster="echo", services=["echo_server"]
        )["services"][0]
        return found

    def sets(self) -> list[dict[str, Any]]:
        return list(self.described()["taskSets"])

    def label_of(self, external_id: str) -> str:
        return self.service.versions.get(pk=external_id.rpartition("--")[2]).label

    def versions_running(self) -> set[str]:
        return {self.label_of(each["externalId"]) for each in self.sets()}

    def running(self) -> dict[str, int]:
        """Tasks by version label."""
        return {self.label_of(s["externalId"]): s["runningCount"] for s in self.sets()}

    def primary(self) -> list[str]:
        return [self.label_of(s["externalId"]) for s in self.sets() if s["status"] == "PRIMARY"]

    def steady(self) -> bool:
        return all(each["stabilityStatus"] == "STEADY_STATE" for each in self.sets())

    def families(self) -> set[str]:
        """Labels of the versions with an ACTIVE task definition."""
        ecs = self.client("ecs")
        return {
            self.label_of(arn.rpartition("/")[2].partition(":")[0])
            for arn in ecs.list_task_definitions()["taskDefinitionArns"]
            if "--" in arn
        }

    def written(self) -> list[str]:
        """Writes that took effect since the last reset of the log, oldest first."""
        return [
            call["operation"]
            for call in self.fake.calls()
            if call["operation"] in WRITES
            and (call["outcome"] == "ok" or (call["injected"] and call["took_effect"]))
        ]


@pytest.fixture
def side(client: Any, to_fake: Fake, service: Service, tick: Any, ask: Any) -> Side:
    return Side(client, to_fake, service, tick, ask)


@pytest.fixture
def stable(side: Side) -> Service:
    """The service with two tasks of 0.9, which serves 100 %."""
    side.deploy("0.9")
    side.until(lambda s: s.stable_id is not None)
    return side.until(lambda _: side.primary() == ["0.9"])


class Dying:
    """An engine in which tasks of some versions write a line and exit with code 1."""

    def __init__(self) -> None:
        self.labels: set[str] = set()
        self._dead: dict[str, str] = {}  # last words by task

    def start(self, task_id: str, ip: str, task_definition: dict[str, Any]) -> None:
        (container,) = task_definition["containerDefinitions"]
        environment = {each["name"]: each["value"] for each in container["environment"]}
        label = environment["VERSION"]
        if label in self.labels:
            self._dead[task_id] = f"no module named echo ({label})"

    def look(self, task_id: str) -> Look:
        if task_id in self._dead:
            return Look("exited", "app", 1, self._dead[task_id])
        return Look("healthy", "app", None, "")

    def stop(self, task_id: str, grace_s: float) -> None:
        """A process that has ended already."""

    def close(self) -> None:
        self._dead.clear()


@pytest.fixture
def dying(to_fake: Fake) -> Iterator[Dying]:
    engine = Dying()
    lifecycle.use_engine(engine)
    yield engine
    lifecycle.use_engine(None)
