"""B11: what one step of a rollout costs on AWS, against bare boto3 and the ``aws`` command line.

The fake AWS runs as a process of its own. Rounds of meshui's router, of the same two calls by bare
boto3, and of the same two by the command line take turns, for App Mesh and for a load balancer.
Correct only if AWS has each step's weights after it, a step is at most three calls, and while a
fifth of all calls is throttled each of a hundred steps is written once, in order.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import boto3
from botocore.config import Config
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from rollouts import aws
from rollouts.domain.state import Verdict
from rollouts.errors import RouterUnreachable
from rollouts.models import Route, Service
from rollouts.routers.alb import actions_with
from rollouts.routers.appmesh import spec_with
from rollouts.routers.base import router
from tests.aws.outsider import AWS
from tests.aws.routers import lay
from tests.aws.routers.side import SIDES, Side
from tests.benchmarks.numbers import ratios
from tests.benchmarks.result import Line, Result, spread
from tests.fakeaws.control import Fake

NEEDS_PRODUCT = False
ROUNDS = 5
MOST_CALLS = 3
THROTTLED, STEPS = 0.2, 100
TRIES = 50  # of one step; each is what a tick would do
REGION = "eu-central-1"
KEYS = {"AWS_ACCESS_KEY_ID": "fake", "AWS_SECRET_ACCESS_KEY": "fake",
        "AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true"}  # fmt: skip
ROUTE = lay.route("shop")
OURS, RAW, CLI = "meshui", "bare boto3", "aws command line"


logging.getLogger("rollouts.aws").setLevel(logging.ERROR)  # throttling is on purpose here


def run(product: object, *, full: bool, seed: int) -> Result:
    """20 steps a round, or 100; the command line 1 or 5."""
    result = Result("B11 cost of a step on AWS")
    call_command("migrate", verbosity=0)
    with _fake() as fake:
        for kind in ("appmesh", "alb"):
            bench = _Bench(kind, fake)
            try:
                _measure(bench, result, full=full)
                _throttled(bench, result, seed)
            finally:
                bench.remove()
    return result


@contextmanager
def _fake() -> Iterator[Fake]:
    """The fake as a process, and this process pointed at it."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fakeaws"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            os.environ |= KEYS | {"AWS_ENDPOINT_URL": url}
            settings.AWS_ENDPOINT_URL = url
            aws.forget()
            yield Fake(url)
        finally:
            settings.AWS_ENDPOINT_URL = ""
            process.terminate()


@dataclass
class _Kind:
    """Seconds of each step in each round, and processor seconds in all."""

    rounds: list[list[float]] = field(default_factory=list)
    cpu_s: float = 0.0

    @property
    def n(self) -> int:
        return sum(map(len, self.rounds))

    @property
    def flat(self) -> list[float]:
        return [each for several in self.rounds for each in several]


class _Bench:
    """A service of two versions on one router, and three ways to move its weights."""

    def __init__(self, kind: str, fake: Fake) -> None:
        fake.reset()
        session = boto3.session.Session(region_name=REGION)
        config = Config(retries={"mode": "standard", "total_max_attempts": 1})
        made: dict[str, Any] = {}

        def client(name: str) -> Any:
            if name not in made:
                made[name] = session.client(name, config=config)  # type: ignore[call-overload]
            return made[name]

        self.kind, self.fake = kind, fake
        self.service: Service = lay.service(kind)
        lay.LAY[kind](client, self.service.mesh)
        self.versions = list(self.service.versions.order_by("pk"))[:2]
        self.service.versions.filter(pk__in=[v.pk for v in self.versions]).update(count=2)
        router(kind).ensure_targets(self.service, self.versions)
        self.side: Side = SIDES[kind](client, fake, self.service)
        self.api = client("elbv2" if kind == "alb" else "appmesh")
        self.found = {OURS: _Kind(), RAW: _Kind(), CLI: _Kind()}
        self.calls = 0
        self._number = 0

    def remove(self) -> None:
        mesh = self.service.mesh
        self.service.delete()
        mesh.delete()

    def next(self) -> dict[str, int]:
        """Weights that differ from the last ones, by label."""
        self._number += 1
        new = self._number * 7 % 100
        return {self.versions[0].label: 100 - new, self.versions[1].label: new}

    def store(self, weights: dict[str, int]) -> Service:
        """The rows as a tick stores them before it applies, and the service as it was before."""
        before = Service.objects.select_related("mesh").get(pk=self.service.pk)
        by_pk = {str(v.pk): weights[v.label] for v in self.versions}
        generation = self.service.generation = self.service.generation + 1
        Service.objects.filter(pk=self.service.pk).update(weights=by_pk, generation=generation)
        Route.objects.create(
            service=self.service, generation=generation, weights=by_pk, at=timezone.now()
        )
        return before

    def ours(self, weights: dict[str, int]) -> Callable[[], object]:
        before, by = self.store(weights), router(self.kind)
        return lambda: by.apply(before, self.service.generation, wait_s=0.25)

    def raw(self, weights: dict[str, int]) -> Callable[[], object]:
        named = {self.side.name(label): weight for label, weight in weights.items()}
        arn = self.service.mesh.stacks.get().outputs.get("EchoServerListenerRule", "")

        def appmesh() -> None:
            spec = self.api.describe_route(**ROUTE)["route"]["spec"]
            self.api.update_route(**ROUTE, spec=spec_with(spec, named))

        def alb() -> None:
            actions = self.api.describe_rules(RuleArns=[arn])["Rules"][0]["Actions"]
            groups = [g["TargetGroupArn"] for g in actions[0]["ForwardConfig"]["TargetGroups"]]
            by_arn = {a: named[a.split("/")[1]] for a in groups if a.split("/")[1] in named}
            self.api.modify_rule(RuleArn=arn, Actions=actions_with(actions, by_arn))

        return alb if self.kind == "alb" else appmesh

    def cli(self, weights: dict[str, int]) -> Callable[[], object]:
        """The same two calls, as a shell script makes them."""
        if self.kind == "alb":
            arn = self.service.mesh.stacks.get().outputs["EchoServerListenerRule"]
            found = self.api.describe_rules(RuleArns=[arn])["Rules"][0]["Actions"]
            groups = {
                g["TargetGroupArn"].split("/")[1]: g["TargetGroupArn"]
                for g in found[0]["ForwardConfig"]["TargetGroups"]
            }
            by_arn = {groups[self.side.name(label)]: w for label, w in weights.items()}
            look = ["elbv2", "describe-rules", "--rule-arns", arn]
            write = ["elbv2", "modify-rule", "--rule-arn", arn,
                     "--actions", json.dumps(actions_with(found, by_arn))]  # fmt: skip
        else:
            named = {self.side.name(label): weight for label, weight in weights.items()}
            spec = self.api.describe_route(**ROUTE)["route"]["spec"]
            where = ["--mesh-name", ROUTE["meshName"], "--route-name", ROUTE["routeName"],
                     "--virtual-router-name", ROUTE["virtualRouterName"]]  # fmt: skip
            look = ["appmesh", "describe-route", *where]
            write = [
                "appmesh",
                "update-route",
                *where,
                "--spec",
                json.dumps(spec_with(spec, named)),
            ]

        def both() -> None:
            for words in (look, write):
                subprocess.run([str(AWS), *words], check=True, stdout=subprocess.DEVNULL)

        return both

    def round(self, way: str, prepare: Any, times: int) -> Iterator[str]:
        """``times`` steps one way; a sentence for each that is wrong."""
        seconds = []
        for _ in range(times):
            weights = self.next()
            step = prepare(weights)
            self.fake.calls_reset()
            cpu, began = time.process_time(), time.perf_counter()
            step()
            seconds.append(time.perf_counter() - began)
            self.found[way].cpu_s += time.process_time() - cpu
            if way == OURS:
                self.calls = max(self.calls, len(self.fake.calls()))
            there = {label: w for label, w in self.side.weights().items() if label in weights}
            if there != weights:
                yield f"{self.kind}, {way}: {there} instead of {weights}."
        self.found[way].rounds.append(seconds)


def _measure(bench: _Bench, result: Result, *, full: bool) -> None:
    ways = [(OURS, bench.ours, 100 if full else 20), (RAW, bench.raw, 100 if full else 20)]
    if Path(AWS).exists():
        ways.append((CLI, bench.cli, 5 if full else 1))
    for way, prepare, _ in ways[:2]:
        result.wrong += bench.round(way, prepare, 5)
        bench.found[way] = _Kind()  # that was to warm up
    for _ in range(ROUNDS):
        for way, prepare, times in ways:
            result.wrong += bench.round(way, prepare, times)
    if bench.calls > MOST_CALLS:
        result.wrong.append(f"{bench.kind}: a step made {bench.calls} calls.")
    _report(bench, result)


def _report(bench: _Bench, result: Result) -> None:
    ours, raw, cli = (bench.found[way] for way in (OURS, RAW, CLI))
    against = ratios(ours.rounds, raw.rounds)
    for way, found in bench.found.items():
        if not found.rounds:
            continue
        numbers = spread(found.flat)
        if found is not cli:
            numbers["processor"] = f"{1000 * found.cpu_s / found.n:.2f} ms"
        if found is ours:
            numbers["× boto3"] = f"{median(against):.2f} ({min(against):.2f}–{max(against):.2f})"
            numbers["calls"] = str(bench.calls)
        if found is cli:
            faster = median(cli.flat) / median(ours.flat)
            numbers["meshui is faster by"] = f"{faster:.0f} ×"
        result.lines.append(Line(f"{bench.kind}: a step by {way}", found.n, numbers))
    result.raw[bench.kind] = {
        "steps_s": {way: found.rounds for way, found in bench.found.items()},
        "processor_s": {way: found.cpu_s for way, found in bench.found.items()},
        "calls": bench.calls,
    }


def _throttled(bench: _Bench, result: Result, seed: int) -> None:
    """A hundred steps while a fifth of all calls is throttled; each is tried as ticks would."""
    bench.fake.calls_reset()
    service = "elbv2" if bench.kind == "alb" else "appmesh"
    bench.fake.inject(service, error="ThrottlingException", rate=THROTTLED, seed=seed)
    asked, tries, lost = [], 0, 0
    for _ in range(STEPS):
        asked.append(bench.next())
        step = bench.ours(asked[-1])
        for _ in range(TRIES):
            tries += 1
            if _confirmed(step):
                break
        else:
            lost += 1
    bench.fake.clear()
    labels = {bench.side.name(v.label): v.label for v in bench.versions}
    written = [
        {labels[name]: weight for name, weight in each.weights.items() if name in labels}
        for each in bench.side.written()
    ]
    if lost or written != asked:
        result.wrong.append(f"{bench.kind}: throttled, {lost} lost, {len(written)} written.")
    throttled = sum(call["injected"] for call in bench.fake.calls())
    calls = len(bench.fake.calls())
    numbers = {"lost": str(lost), "throttled": f"{throttled} of {calls} calls",
               "looks a step": f"{tries / STEPS:.2f}"}  # fmt: skip
    what = f"{bench.kind}: steps while {THROTTLED:.0%} is throttled"
    result.lines.append(Line(what, STEPS, numbers))


def _confirmed(step: Callable[[], Any]) -> bool:
    try:
        return bool(step().verdict is Verdict.YES)
    except RouterUnreachable:
        return False
