"""Kills whatever it likes, at any moment, while versions roll out; the promises must hold.

``make soak`` runs it. MESHUI_SOAK_SEED repeats a run, MESHUI_SOAK_KILLS makes it longer.
"""

import json
import os
import random
import signal
import time
from itertools import pairwise

import pytest

from tests.e2e.stack import Row, Stack

pytestmark = [pytest.mark.stack, pytest.mark.soak, pytest.mark.timeout(1800)]

KILLS = int(os.environ.get("MESHUI_SOAK_KILLS", "20"))
PARTS = ("broker", "worker", "beat", "controlplane", "sampler", "web")
ENDS_WITHIN_S = 60.0  # a killed part is back within 5 s, a start within some seconds more
BACK_UP_S = 20.0


def victim(chance: random.Random, stack: Stack) -> tuple[str, int]:
    """A name and a pid: a part of meshui, the Envoy, or a task of the version that is on trial."""
    kind = chance.choice((*PARTS, "envoy", "task"))
    if kind == "envoy":
        return kind, stack.envoy()
    if kind == "task":
        tasks = [t["pid"] for t in stack.tasks("1.0") if t["pid"]]
        return kind, chance.choice(tasks) if tasks else 0
    return kind, stack.pid(kind)


def broken_promises(stack: Stack) -> list[str]:
    """Sentences about what the rows should not say: invariants I1, I3 and I4."""
    wrong = []
    for row in stack.rows("SELECT generation, weights FROM rollouts_route WHERE service_id = 1"):
        weights = json.loads(row["weights"])
        if sum(weights.values()) != 100 or not all(0 <= w <= 100 for w in weights.values()):
            wrong.append(f"I1: generation {row['generation']} is {weights}")
    live = stack.rows(
        "SELECT service_id FROM rollouts_rollout WHERE finished_at IS NULL"
        " GROUP BY service_id HAVING count(*) > 1"
    )
    wrong += [f"I3: service {row['service_id']} has two live rollouts" for row in live]
    routes = stack.rows("SELECT generation FROM rollouts_route WHERE service_id = 1 ORDER BY id")
    wrong += [
        f"I11: generation {later['generation']} follows {earlier['generation']}"
        for earlier, later in pairwise(routes)
        if later["generation"] != earlier["generation"] + 1
    ]
    return wrong


def raised_after_rollback(stack: Stack, rollout: Row) -> list[Row]:
    """Routes of the rollout, after its rollback was asked for, that give it requests (I6)."""
    routes = stack.rows(
        "SELECT * FROM rollouts_route WHERE rollout_id = ? AND at > ?",
        rollout["id"], rollout["rollback_requested_at"],
    )  # fmt: skip
    return [r for r in routes if json.loads(r["weights"]).get(str(rollout["to_version_id"]))]


def on_healthy_versions(stack: Stack) -> bool:
    """I2: does every version with a weight have a healthy task?"""
    return all(any(t["healthy"] for t in stack.tasks(label)) for label in stack.weights())


def tried(stack: Stack, what: str, path: str, **fields: str) -> int:
    """Post as a person does who tries again while the page does not answer (I5)."""
    answers: list[int] = []

    def post() -> bool:
        try:
            who = stack.web_session()
            answers.append(who.post(path, **fields).status)
        except (OSError, AssertionError):
            return False
        return answers[-1] < 500

    stack.until(post, BACK_UP_S * 2, what)
    return answers[-1]


def start(stack: Stack) -> int:
    """Deploy whichever of the two versions is not stable; returns the rollout's number."""
    labels = {row["id"]: row for row in (stack.version("0.9"), stack.version("1.0"))}
    labels.pop(stack.service()["stable_id"])
    (other,) = labels.values()
    path = "/services/echo-server/deploy/"
    tried(stack, "a deploy", path, version=str(other["number"]), strategy="custom",
          steps="20:1s,50:2s,100")  # fmt: skip
    (row,) = stack.rows("SELECT max(id) AS id FROM rollouts_rollout")
    return int(row["id"])


def pass_time(stack: Stack, seconds: float) -> None:
    until = time.monotonic() + seconds
    stack.until(lambda: time.monotonic() > until, seconds + 5, "a random moment")


def ends(stack: Stack, rollout: int) -> None:
    stack.until(lambda: stack.rollout(rollout)["finished_at"], ENDS_WITHIN_S, "the rollout ends")


def test_promises_hold_whatever_is_killed(fresh_stack: Stack) -> None:
    stack = fresh_stack
    seed = int(os.environ.get("MESHUI_SOAK_SEED", str(time.time_ns() % 100_000)))
    print(f"MESHUI_SOAK_SEED={seed}")
    chance = random.Random(seed)
    ended: list[str] = []
    for number in range(KILLS):
        rollout = start(stack)
        ask_back = chance.random() < 0.4
        pause_s = chance.uniform(0.0, 4.0)
        pass_time(stack, pause_s)
        name, pid = victim(chance, stack)
        if pid:
            os.kill(pid, signal.SIGKILL)
        if ask_back:
            tried(stack, "a rollback", f"/rollouts/{rollout}/rollback/", reason="soak")
        ends(stack, rollout)
        row = stack.rollout(rollout)
        ended.append(row["phase"])
        print(f"{number}: killed {name} after {pause_s:.1f} s, back={ask_back}: {row['phase']}"
              f" {row['reason']}")  # fmt: skip
        assert broken_promises(stack) == []
        if row["rollback_requested_at"]:
            assert raised_after_rollback(stack, row) == []
        stack.until(lambda: on_healthy_versions(stack), BACK_UP_S, "I2: weights on healthy tasks")
        stack.until(stack.answers, BACK_UP_S, "the endpoint answers")
        stack.until(stack.settled, BACK_UP_S, "every proxy has confirmed")
    assert set(ended) <= {"succeeded", "rolled_back"}
    assert len(ended) == KILLS
