"""B1: from the click on Rollback to the last answer of the new version.

A logged-in client posts Rollback while an open-loop load runs at 50 %. Trials of the peer (a bare
control plane that pushes over xDS), of the product, and of the product with its broker and workers
stopped take turns. Correct only if no request that started more than 50 ms after the answer to the
click met the new version, and no request failed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from django.conf import settings
from django.urls import reverse

from rollouts.domain.plan import Step
from rollouts.domain.state import FINISHED
from tests.benchmarks import machine
from tests.benchmarks.browser import Browser
from tests.benchmarks.load import Answer, Load
from tests.benchmarks.numbers import quantile, ratios
from tests.benchmarks.peer import Peer
from tests.benchmarks.result import Line, Result, spread
from tests.benchmarks.stack import HOUR_S, NEW, PASSWORD, PATH, Product

ROUNDS = 5
RATES = (2000, 1000, 500)  # requests a second; the highest that the machine carries
CARRIED_P99_S = 0.02
BEFORE_S, AFTER_S = 0.25, 0.3
GRACE_S = 0.05
PLAN = (Step(50, hold_s=HOUR_S), Step(100))
PUSH, ALIVE, DEAD = "raw push", "meshui", "meshui, broker and workers stopped"


@dataclass(frozen=True)
class Click:
    """When it was posted, answered, and until when the answers belong to it."""

    posted: float
    answered: float
    ended: float


@dataclass(frozen=True)
class Trial:
    """Seconds: last answer of the new version, of one asked for after the answer; the answer."""

    all_s: float
    new_s: float
    post_s: float
    late: int
    before: int


def run(product: Product, *, full: bool, seed: int) -> Result:
    """Trials in turns; 30 of each kind, or 200."""
    result = Result("B1 rollback latency")
    folder = settings.STATE
    with (
        Peer(folder) as peer,
        Load(peer.port, PATH, folder / "peer.load") as to_peer,
        Load(settings.PUBLIC_PORT, PATH, folder / "product.load") as to_product,
    ):
        bench = _Bench(product, peer, {PUSH: to_peer, ALIVE: to_product, DEAD: to_product}, seed)
        bench.find_rate()
        _warm_up(bench)
        for _ in range(ROUNDS):
            for kind in (PUSH, ALIVE, DEAD):
                bench.round(kind, (200 if full else 30) // ROUNDS)
    _report(bench, result)
    return result


class _Bench:
    """The rounds of one run and what they found."""

    def __init__(self, product: Product, peer: Peer, loads: dict[str, Load], seed: int) -> None:
        self.product, self.peer, self.loads = product, peer, loads
        self.rate = float(RATES[-1])
        self.trials: dict[str, list[list[Trial]]] = {PUSH: [], ALIVE: [], DEAD: []}
        self.failed = 0
        self.web_s = 0.0
        self._browser = Browser(product.user.username, PASSWORD)
        self._random = random.Random(seed)

    def find_rate(self) -> None:
        for rate in RATES:
            self.rate = float(rate)
            for load in (self.loads[PUSH], self.loads[ALIVE]):
                with load.open(rate):
                    time.sleep(1)
            waits = [a.done - a.due for load in self.loads.values() for a in load.answers()]
            if quantile(waits, 0.99) < CARRIED_P99_S:
                return

    def round(self, kind: str, times: int) -> None:
        """``times`` trials under one load."""
        load = self.loads[kind]
        dead = kind == DEAD
        trial = self._push if kind == PUSH else self._click
        clicks = []
        around = self.product.frozen("broker", "worker", "beat") if dead else nullcontext()
        with around, load.open(self.rate), self._counting_web(kind):
            for _ in range(times):
                clicks.append(trial())
        answers = load.answers()
        self.failed += sum(a.version is None for a in answers)
        self.trials[kind].append([_trial(click, answers) for click in clicks])

    @contextmanager
    def _counting_web(self, kind: str) -> Iterator[None]:
        (web,) = self.product.pids("web")
        before = machine.used_s(web)
        yield
        if kind == ALIVE:
            self.web_s += machine.used_s(web) - before

    def _push(self) -> Click:
        self.peer.set("half")
        self._wait()
        pushed, confirmed = self.peer.set("stable")
        time.sleep(AFTER_S)
        return Click(pushed, confirmed, time.monotonic())

    def _click(self) -> Click:
        self.product.tick_until(lambda rollout: rollout.phase in FINISHED)
        self.product.deploy(NEW, PLAN)
        rollout = self.product.hold(0)
        page = reverse("rollout", args=[rollout.pk])
        self._browser.get(f"{page}rollback/")
        self._wait()
        posted, answered = self._browser.post(f"{page}rollback/", reason="benchmark")
        time.sleep(AFTER_S)
        return Click(posted, answered, time.monotonic())

    def _wait(self) -> None:
        """Not always as long: clicks must not keep step with polls and ticks."""
        time.sleep(BEFORE_S + self._random.random() * 0.5)


def _warm_up(bench: _Bench) -> None:
    for kind in (PUSH, ALIVE):
        bench.round(kind, 2)
        bench.trials[kind].clear()
    bench.web_s = 0.0


def _trial(click: Click, answers: list[Answer]) -> Trial:
    new = [a for a in answers if a.version == NEW and a.sent < click.ended]
    after = [a for a in new if a.done > click.posted]
    last = max((a.done for a in after), default=click.posted)
    begun = [a.done for a in after if a.sent > click.answered]
    return Trial(
        all_s=last - click.posted,
        new_s=max(begun, default=click.answered) - click.answered,
        post_s=click.answered - click.posted,
        late=sum(a.sent > click.answered + GRACE_S for a in after),
        before=sum(a.sent > click.posted - BEFORE_S for a in new),
    )


def _report(bench: _Bench, result: Result) -> None:
    flat = {kind: [t for each in rounds for t in each] for kind, rounds in bench.trials.items()}
    for kind, trials in flat.items():
        if late := sum(trial.late for trial in trials):
            result.wrong.append(f"{kind}: {late} requests met {NEW} too late.")
        if not all(trial.before for trial in trials):
            result.wrong.append(f"{kind}: {NEW} had no requests before a click.")
    if bench.failed:
        result.wrong.append(f"{bench.failed} requests failed.")
    # The load meets the new version once in so many seconds: nothing shorter can be seen.
    seen_s = 2 / bench.rate
    push = _per_round(bench.trials[PUSH], lambda t: max(seen_s, t.all_s))
    for kind, trials in flat.items():
        against = ratios(_per_round(bench.trials[kind], lambda t: t.all_s), push)
        result.lines += _lines(kind, trials, against)
    cpu_s = bench.web_s / len(flat[ALIVE])
    result.lines.append(
        Line("processor time of the web process", len(flat[ALIVE]),
             {"question and click": f"{cpu_s * 1000:.0f} ms", "load": f"{bench.rate:g} rps",
              "shortest seen": f"{seen_s * 1000:g} ms"})
    )  # fmt: skip
    result.raw = {
        "rate": bench.rate,
        "web_cpu_s_per_click": cpu_s,
        "trials": {
            kind: [[asdict(t) for t in each] for each in rounds]
            for kind, rounds in bench.trials.items()
        },
    }


def _per_round(rounds: list[list[Trial]], of: Callable[[Trial], float]) -> list[list[float]]:
    return [[of(trial) for trial in each] for each in rounds]


def _lines(kind: str, trials: list[Trial], against: list[float]) -> list[Line]:
    ratio: dict[str, Any] = {}
    if kind != PUSH:
        ratio["ratio"] = f"{median(against):.1f} ({min(against):.1f}–{max(against):.1f})"
    n, word = len(trials), "push" if kind == PUSH else "POST"
    lines = [
        Line(f"{kind}: {word} → last answer", n, spread([t.all_s for t in trials]) | ratio),
        Line(f"{kind}: {word} → confirmed", n, spread([t.post_s for t in trials])),
    ]
    if kind != PUSH:
        lines[1] = Line(f"{kind}: POST → its answer", n, spread([t.post_s for t in trials]))
        lines.append(Line(f"{kind}: asked after it", n, spread([t.new_s for t in trials])))
    return lines
