"""Two people click at once, and a worker ticks: weights on AWS never interleave, none is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse

from rollouts import actions, clock, doors, reconcile
from rollouts.actions import Ask
from rollouts.domain.plan import ALL_AT_ONCE
from rollouts.errors import ActionRefused
from rollouts.models import Rollout, Service
from tests.aws.routers.side import Side, check_history

CLICKS = 12  # of each browser
ANSWERS = {302, 409, 422}  # done, refused as the page was out of date, or as another one runs

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _static_root(settings: Any, tmp_path: Any) -> None:
    settings.STATIC_ROOT = tmp_path


def browse(user: User, slug: str, seed: int) -> list[int]:
    """Deploy, promote and roll back in any order; the answers' status codes."""
    random, browser = Random(seed), Client()
    browser.force_login(user)
    answers = []
    for click in range(CLICKS):
        live = Rollout.objects.live().filter(service__slug=slug).first()
        if live is None or random.random() < 0.2:
            # No two deploys share a weight, so that each write tells whose it is.
            steps = f"{1 + (2 * click + seed) % 99}:1s, 100"
            form = {"version": str(random.randint(1, 3)), "strategy": "custom", "steps": steps}
            answer = browser.post(reverse("deploy", args=[slug]), form)
        else:
            verb = random.choice(["rollback", "rollback", "promote", "promote-full"])
            path = reverse("rollout-act", args=[live.pk, verb])
            answer = browser.post(path, {"reason": f"click {click}"})
        answers.append(answer.status_code)
    connection.close()
    return answers


@contextmanager
def a_worker(pk: int) -> Iterator[None]:
    """Ticks the service in another thread, as fast as it can."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.02):
            reconcile.tick(pk, clock.moment())
        connection.close()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        try:
            yield
        finally:
            stop.set()
        done.result(30)


def until(pk: int, holds: Callable[[], bool]) -> None:
    for _ in range(100):
        if holds():
            return
        reconcile.tick(pk, clock.moment())
    raise AssertionError(Service.objects.get(pk=pk).waiting)


def test_two_browsers_and_a_worker_never_interleave_weights(
    service: Service, side: Side, operator: User
) -> None:
    ask = Ask(operator, "web", clock.moment().now)
    first = service.versions.get(label="0.9")
    doors.act(actions.request_deploy, service, first, plan=ALL_AT_ONCE, plan_name="All", ask=ask)
    until(service.pk, lambda: Service.objects.get(pk=service.pk).stable_id is not None)
    with a_worker(service.pk), ThreadPoolExecutor(2) as pool:
        both = [pool.submit(browse, operator, service.slug, seed) for seed in (1, 2)]
        answers = [answer for each in both for answer in each.result(90)]
    assert set(answers) <= ANSWERS
    assert answers.count(302) >= CLICKS // 2, f"most clicks were refused: {answers}"
    for live in Rollout.objects.live():
        try:
            doors.act(actions.request_rollback, live, ask=ask)
        except ActionRefused:  # asked for already
            continue
    until(service.pk, lambda: not Rollout.objects.live().exists())
    until(service.pk, lambda: _in_force(service.pk))
    assert service.routes.count() > 4
    side.own_clock = False
    check_history(side)


def _in_force(pk: int) -> bool:
    newest = Service.objects.get(pk=pk).routes.first()
    return newest is not None and newest.confirmed_at is not None
