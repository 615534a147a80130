"""B3: how exactly requests are split, and whether the dashboard's number is the truth.

One rollout is promoted from weight to weight; at each, a closed-loop load is counted three times:
by its answers, by Envoy's own counters, and by the rows that the dashboard reads. Correct only if
the three agree, nothing fails, and 0 % and 100 % are exact. The peer is chance: χ² for each weight.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from math import sqrt
from urllib.request import ProxyHandler, build_opener

from django.conf import settings
from django.db.models import Max, Sum

from rollouts import actions, doors
from rollouts.domain.plan import Step
from rollouts.domain.state import FINISHED, Phase
from rollouts.models import TrafficBucket, Version
from tests.benchmarks.load import Load
from tests.benchmarks.numbers import chi_square_p, holm
from tests.benchmarks.result import Line, Result
from tests.benchmarks.stack import HOUR_S, NEW, PATH, STABLE, Product, until

QUICK, FULL = (0, 1, 10, 50, 100), (0, 1, 5, 10, 25, 33, 50, 75, 99, 100)
SHOWN_WITHIN_S = 5.0
UNLIKELY = 0.001


@dataclass(frozen=True)
class Point:
    """One weight (percent): requests, and those to the new version as each of the three saw it."""

    weight: int
    n: int
    answers: int
    failed: int
    envoy: int
    dashboard: int
    dashboard_all: int


def run(product: Product, *, full: bool, seed: int) -> Result:
    """5,000 requests for each weight, or 100,000. ``seed`` is not used: Envoy draws the lots."""
    result = Result("B3 split accuracy")
    weights, number = (FULL, 100_000) if full else (QUICK, 5_000)
    product.tick_until(lambda rollout: rollout.phase in FINISHED)
    *partly, last = (Step(weight, hold_s=HOUR_S) for weight in weights)
    rollout = product.deploy(NEW, (*partly, last))
    points = []
    until(_answers, 30, "Envoy has found the tasks of the first deploy well")
    until(_is_quiet, 60, "the dashboard has counted what came before")
    with Load(settings.PUBLIC_PORT, PATH, settings.STATE / "split.load") as load:
        for step, weight in enumerate(weights):
            product.hold(step)
            points.append(_point(load, rollout.to_version, weight, number))
            doors.act(actions.request_promote, rollout, step=step, ask=product.ask())
    product.tick_until(lambda rollout: rollout.phase == Phase.SUCCEEDED)
    product.deploy(STABLE, (Step(100),))  # as the next benchmark expects it
    product.tick_until(lambda rollout: rollout.phase == Phase.SUCCEEDED)
    _check(points, result)
    _report(points, result)
    return result


def _answers() -> bool:
    try:
        url = f"http://127.0.0.1:{settings.PUBLIC_PORT}{PATH}"
        with build_opener(ProxyHandler({})).open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _point(load: Load, version: Version, weight: int, number: int) -> Point:
    before, shown, shown_all = _counted(version), _shown(version), _shown(None)
    answers = load.closed(number)

    def all_shown() -> bool:
        return _shown(None) - shown_all >= number

    until(all_shown, SHOWN_WITHIN_S, f"the dashboard shows all requests at {weight} %")
    return Point(
        weight=weight,
        n=len(answers),
        answers=sum(a.version == NEW for a in answers),
        failed=sum(a.version is None for a in answers),
        envoy=_counted(version) - before,
        dashboard=_shown(version) - shown,
        dashboard_all=_shown(None) - shown_all,
    )


def _is_quiet() -> bool:
    rows = TrafficBucket.objects.filter(service__slug="bench", source=TrafficBucket.ENVOY)
    newest = rows.aggregate(newest=Max("second"))["newest"]
    return newest is None or newest < time.time() - SHOWN_WITHIN_S


def _counted(version: Version) -> int:
    """Answers of the version's cluster since Envoy started, from its admin interface."""
    name = f"cluster.{version.target}.upstream_rq_completed"
    url = f"http://127.0.0.1:{settings.ENVOY_ADMIN_PORT}/stats?filter={name}"
    with build_opener(ProxyHandler({})).open(url, timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}:"))


def _shown(version: Version | None) -> int:
    """Requests to the version, or to all of ``bench``, in the rows that the dashboard sums up."""
    rows = TrafficBucket.objects.filter(service__slug="bench", source=TrafficBucket.ENVOY)
    if version is not None:
        rows = rows.filter(version=version)
    return int(rows.aggregate(sum=Sum("requests"))["sum"] or 0)


def _chances(points: list[Point]) -> dict[int, float]:
    between = [point for point in points if 0 < point.weight < 100]
    return {p.weight: chi_square_p(p.answers, p.n, p.weight / 100) for p in between}


def _check(points: list[Point], result: Result) -> None:
    for point in points:
        seen = {point.answers, point.envoy, point.dashboard}
        if len(seen) > 1 or point.dashboard_all != point.n:
            result.wrong.append(f"At {point.weight} % the three counts differ: {point}.")
        if point.failed:
            result.wrong.append(f"At {point.weight} % {point.failed} requests failed.")
        if point.weight in (0, 100) and point.answers != point.n * point.weight // 100:
            result.wrong.append(f"{point.weight} % is not exact: {point.answers} of {point.n}.")
    for weight, p in holm(_chances(points)).items():
        if p < UNLIKELY:
            result.wrong.append(f"The split at {weight} % is not chance: p = {p:.5f}.")


def _report(points: list[Point], result: Result) -> None:
    chances = _chances(points)
    corrected = holm(chances)
    for point in points:
        share = point.weight / 100
        sigma = 100 * sqrt(share * (1 - share) / point.n)
        numbers = {
            "observed": f"{100 * point.answers / point.n:.3f} %",
            "sigma": f"{sigma:.3f} %",
            "dashboard − Envoy": str(point.dashboard - point.envoy),
        }
        if point.weight in chances:
            numbers |= {
                "p": f"{chances[point.weight]:.3f}",
                "Holm": f"{corrected[point.weight]:.3f}",
            }
        result.lines.append(Line(f"{point.weight} % configured", point.n, numbers))
    result.raw = {"points": [asdict(point) for point in points], "p": chances}
