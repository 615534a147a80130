"""The one or two sentences at the top of a rollout page: what is live, is it worse, what next.

Pure over Facts. Says only what was observed.
"""

from __future__ import annotations

from dataclasses import dataclass

from rollouts.domain.failures import brief
from rollouts.domain.state import Phase, Stage
from rollouts.live.figures import Figures, fails_unnamed, judge
from rollouts.models import Version
from rollouts.web.facts import Facts

LATE_S = 3.0  # a step this late is not about to come by itself


@dataclass(frozen=True)
class Verdict:
    """``lead`` is bold; ``bad`` colours it. ``next_text`` is followed by the clock time ``at``.

    ``compare``: print the present figures of both versions after the lead (they are live).
    """

    lead: str
    text: str = ""
    bad: bool = False
    compare: bool = False
    next_text: str = ""
    at: float | None = None


def verdict(facts: Facts) -> Verdict:
    rollout = facts.rollout
    phase = Phase(rollout.phase)
    if facts.requested:
        return _requested(facts)
    if phase is Phase.ROLLING_BACK:
        return _stuck(facts) if facts.stuck else _rolling_back(facts)
    if phase in (Phase.ROLLED_BACK, Phase.FAILED):
        return _back(facts)
    if phase is Phase.SUCCEEDED:
        return _complete(facts)
    if rollout.paused:
        return _paused(facts)
    if phase is Phase.PENDING:
        return _queued(facts)
    if phase in (Phase.PROVISIONING, Phase.STARTING):
        return _starting(facts)
    return _live(facts, phase)


def _requested(facts: Facts) -> Verdict:
    asked = facts.rollout.rollback_requested_at
    waited = (facts.now - asked).total_seconds() if asked else 0
    if facts.worker_late and waited > 5:
        text = "No worker answered in 5 s. Weights have not changed yet."
        return Verdict("Not taken yet:", text, bad=True)
    text = "Waiting for a worker to take it. Weights have not changed yet."
    return Verdict("Rollback requested.", text, bad=True)


def _rolling_back(facts: Facts) -> Verdict:
    old = facts.old
    lead = f"{old.label} takes all traffic." if old else f"{facts.new.label} loses all traffic."
    total = len(facts.proxies)
    done = total - len(facts.lagging())
    text = f"{_ended(brief(facts.rollout.reason))} {done} of {total} proxies have confirmed it."
    return Verdict(lead, text.strip(), bad=True)


def _stuck(facts: Facts) -> Verdict:
    names = ", ".join(proxy.node for proxy in facts.lagging()) or "A proxy"
    text = f"{names} has not confirmed the weights for 30 s. It is asked again at every tick."
    return Verdict(_serving(facts), text, bad=True)


def _serving(facts: Facts) -> str:
    """Who serves what, as observed; without observation it says so."""
    parts = []
    for version in (facts.old, facts.new):
        observed = facts.figures_of(version.pk).observed if version else None
        if version and observed is not None:
            parts.append(f"{version.label} serves {observed:.0f} %")
    return ", ".join(parts) + "." if parts else "Who serves what is unknown: no requests are seen."


def _back(facts: Facts) -> Verdict:
    old, rollout = facts.old, facts.rollout
    service = facts.service
    lead = f"{facts.new.label} takes no traffic."
    if old and service.stable_id == old.pk and facts.newest:
        lead = _all_to(facts, old)
    elif old:
        lead = f"Traffic went back to {old.label}."
    reason = _ended(brief(rollout.reason))
    text = f"Rolled back: {reason}" if old else reason
    if facts.newest and not service.automatic_deploys:
        text = f"{text} Automatic deploys of {service.slug} are off."
    return Verdict(lead, text.strip(), bad=rollout.phase == Phase.FAILED)


def _ended(reason: str) -> str:
    """A sentence with its full stop: what a person typed often has none."""
    reason = reason.strip()
    return f"{reason}." if reason and reason[-1] not in ".!?" else reason


def _all_to(facts: Facts, version: Version) -> str:
    """Only requests that were seen are "served"; without them it is what proxies confirmed."""
    observed = facts.figures_of(version.pk).observed
    if observed is not None and observed >= 99.5:
        return f"{version.label} serves 100 %."
    return f"{version.label} has 100 %, confirmed by every proxy."


def _complete(facts: Facts) -> Verdict:
    new, old = facts.new, facts.old
    if not facts.newest or facts.service.stable_id != new.pk:
        return Verdict(f"{new.label} took 100 %.", "A later rollout followed this one.")
    lead = _all_to(facts, new)
    if old is None:
        return Verdict(lead, "It is the first version, there is none to roll back to.")
    return _complete_with(facts, lead, facts.versions.get(old.pk, old))


def _complete_with(facts: Facts, lead: str, old: Version) -> Verdict:
    healthy = facts.healthy(old.pk)
    if not old.count or not healthy:
        text = f"{old.label} is stopped: a rollback starts it again first."
        return Verdict(lead, text)
    if old.retire_left is None:
        return Verdict(lead, f"{old.label} is kept warm: a rollback takes about a second.")
    text = f"{old.label} is still warm, so a rollback takes about a second."
    return Verdict(lead, text, next_text="It is stopped at", at=facts.clock + old.retire_left)


def _paused(facts: Facts) -> Verdict:
    rollout = facts.rollout
    has_traffic = rollout.phase in (Phase.PROGRESSING, Phase.PROMOTING)
    weight = facts.service.weight_of(rollout.to_version_id)
    lead = f"Held at {weight} %" if has_traffic else "Held before the start"
    who = f"by {rollout.wish_by}" if rollout.wish_by else "by a person"
    why = f": “{rollout.wish_reason}”" if rollout.wish_reason else ""
    text = f"{who}{why}. Nothing moves until someone resumes, promotes or rolls back."
    return Verdict(lead, text)


def _queued(facts: Facts) -> Verdict:
    if facts.worker_late:
        return Verdict("Not taken yet:", "no worker answered in 5 s.", bad=True)
    return Verdict("Waiting for a worker.", "Nothing has changed yet.")


def _starting(facts: Facts) -> Verdict:
    new = facts.new
    text = f"{facts.healthy(new.pk)} of {facts.service.tasks} tasks are healthy."
    trouble = next((brief(task.reason) for task in facts.tasks_of(new.pk) if task.reason), "")
    deadline = facts.clock + facts.rollout.deadline_left
    return Verdict(
        f"No traffic to {new.label} yet.",
        f"{text} {trouble.rstrip('.')}." if trouble else text,
        next_text="Given up if not all are healthy at",
        at=deadline,
    )


def _live(facts: Facts, phase: Phase) -> Verdict:
    rollout = facts.rollout
    weight = facts.service.weight_of(facts.new.pk)
    if phase is Phase.PROMOTING or rollout.stage == Stage.SHIFT:
        who = ", ".join(proxy.node for proxy in facts.lagging())
        text = facts.service.waiting or (f"Waiting for {who} to confirm." if who else "")
        return Verdict(f"{weight} % to {facts.new.label} is set, not confirmed yet.", text)
    if rollout.stage == Stage.APPROVAL:
        return _approval(facts, weight)
    until = None if rollout.left is None else facts.clock + rollout.left
    lead, bad = _judgement(facts)
    if until is not None and until < facts.now.timestamp() - LATE_S:
        text = facts.service.waiting or f"{_next(facts)} as soon as a worker answers."
        return Verdict(lead, text, bad, _compares(facts))
    return Verdict(lead, "", bad, _compares(facts), f"{_next(facts)} on its own at", until)


def _approval(facts: Facts, weight: int) -> Verdict:
    rollout, step = facts.rollout, facts.rollout.plan[facts.rollout.step]
    lead = f"Waits for approval at {weight} %."
    _, bad = _judgement(facts)
    if rollout.left is None:
        return Verdict(lead, _judgement(facts)[0], bad, _compares(facts))
    then = {"rollback": "Rolls back", "promote": _next(facts), "wait": "The time ends"}
    words = f"{then[step['on_timeout']]} on its own at"
    text = _judgement(facts)[0] if weight else ""
    return Verdict(lead, text, bad, _compares(facts), words, facts.clock + rollout.left)


def _next(facts: Facts) -> str:
    rollout = facts.rollout
    if rollout.step + 1 < len(rollout.plan):
        return f"Goes to {rollout.plan[rollout.step + 1]['weight']} %"
    return "Becomes stable at 100 %" if rollout.plan[-1]["weight"] == 100 else "Goes to 100 %"


def _compares(facts: Facts) -> bool:
    return facts.figures_of(facts.new.pk).requests > 0


def _judgement(facts: Facts) -> tuple[str, bool]:
    new, old = facts.new.label, facts.old
    if not facts.figures:
        return "No requests are seen: the observed share is unknown.", False
    figures: Figures | None = facts.figures_of(old.pk) if old else None
    word = judge(facts.figures_of(facts.new.pk), figures)
    if word in ("unknown", "same") and fails_unnamed(facts.figures):
        return "Requests fail, and their answers name no version: see the sample.", True
    than = f" than {old.label}" if old else ""
    return {
        "unknown": (f"Too few requests yet to judge {new}.", False),
        "same": (f"{new} does no worse{than}.", False),
        "fails": (f"{new} fails more often{than}.", True),
        "slow": (f"{new} is slower{than}.", True),
    }[word]
