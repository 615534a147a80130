"""The rollout page, its parts, its data and its actions.

Views of ``web.urls``: they read the clock, build the board, print it; acts go through ``doors``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from rollouts import actions, clock, doors, reconcile
from rollouts.domain.state import Phase
from rollouts.errors import ActionRefused, MeshuiError, NotAllowed
from rollouts.live.news import read_world, state_of_rollout
from rollouts.live.pill import is_requested
from rollouts.live.rounds import sample_row
from rollouts.models import Rollout, Sample
from rollouts.web.asks import answers_refusals, ask, groups_with, what_is_now
from rollouts.web.board import OPERATE, UNDO, Board, board, may
from rollouts.web.cards import failure_of
from rollouts.web.chart import WINDOWS, Chart, chart, svg
from rollouts.web.dialogs import Confirm, confirm
from rollouts.web.map import service_map
from rollouts.web.messages import teller
from rollouts.web.notices import router_notice
from rollouts.web.questions import QUESTIONS, Question

SAMPLES = 40


@dataclass(frozen=True)
class _Look:
    """One rollout as the page shows it at one moment."""

    board: Board
    now: float
    newest: bool


def _look(request: HttpRequest, pk: int) -> _Look:
    rollout = _rollout(pk)
    now = timezone.now()
    world = read_world(frozenset([f"rollout-{pk}"]), now.timestamp())
    revision = state_of_rollout(world, world.rollouts[pk]).revision
    seen = board(rollout, request.user, now, revision)
    return _Look(seen, now.timestamp(), seen.facts.newest)


def _rollout(pk: int) -> Rollout:
    rows = Rollout.objects.select_related(
        "service__mesh", "service__stable", "from_version", "to_version", "started_by"
    )
    found: Rollout = get_object_or_404(rows, pk=pk)
    return found


def _chart(look: _Look, span: str) -> Chart:
    return chart(look.board.rollout, look.board.rows, look.now, span=span, newest=look.newest)


def _span(request: HttpRequest) -> str:
    asked = request.GET.get("span", "15m")
    return asked if asked in WINDOWS else "15m"


def _clock(t: float) -> str:
    return f"{datetime.fromtimestamp(t, UTC):%H:%M}"


def _context(look: _Look) -> dict[str, Any]:
    seen = look.board
    undo = [a for a in seen.actions if a.look == "danger"]
    return {
        "b": seen,
        "f": seen.facts,
        "map": service_map(seen.facts),
        "failure": failure_of(seen.facts),
        "says": teller(seen.facts.service.mesh) is not None,
        "notice": router_notice(seen.facts.service.mesh.router),
        "undo": undo[0] if undo else None,
        "groups": groups_with("rollback_rollout") if seen.denied else [],
        "cli": f"manage.py rollout rollback {seen.facts.service.slug}",
    }


@never_cache
@require_safe
def page(request: HttpRequest, pk: int) -> HttpResponse:
    look = _look(request, pk)
    drawn = _chart(look, _span(request))
    context = _context(look) | {
        "chart": drawn,
        "span": _span(request),
        "spans": (("15m", "15 min"), ("30m", "30 min"), ("all", "All")),
        "svg": svg(drawn, clock=_clock),
        "samples": _samples(look),
        "seen": int(look.now * 1000),
    }
    return render(request, "rollouts/rollout.html", context)


def _samples(look: _Look) -> list[Sample]:
    rows = Sample.objects.filter(service=look.board.facts.service.pk).select_related("version")
    return list(rows[:SAMPLES]) if look.newest else []


@never_cache
@require_safe
def parts(request: HttpRequest, pk: int) -> HttpResponse:
    """The parts that change with the state, as htmx partials."""
    return render(request, "rollouts/rollout_parts.html", _context(_look(request, pk)))


@never_cache
@require_safe
def series(request: HttpRequest, pk: int) -> JsonResponse:
    """The chart's data. ``?span=`` 15m, 30m or all."""
    look = _look(request, pk)
    samples = [sample_row(row) for row in reversed(_samples(look))]
    body = _chart(look, _span(request)).body(look.now) | {"samples": samples}
    return JsonResponse(body, json_dumps_params={"separators": (",", ":")})


@never_cache
@require_safe
def status(request: HttpRequest, pk: int) -> JsonResponse:
    """A small answer for hidden tabs: what the title and the favicon need."""
    now = timezone.now().timestamp()
    world = read_world(frozenset([f"rollout-{pk}"]), now)
    if pk not in world.rollouts:
        raise Http404("There is no such rollout.")
    state = state_of_rollout(world, world.rollouts[pk])
    return JsonResponse({"now": round(now, 3), **state.body(f"rollout-{pk}")})


@never_cache
@require_safe
def split(request: HttpRequest, pk: int) -> HttpResponse:
    drawn = _chart(_look(request, pk), _span(request))
    return HttpResponse(svg(drawn, alone=True, clock=_clock), content_type="image/svg+xml")


@never_cache
@require_safe
def report(request: HttpRequest, pk: int) -> HttpResponse:
    """Verdict, chart, steps and log on paper, without buttons."""
    look = _look(request, pk)
    drawn = _chart(look, "all")
    events = look.board.rollout.events.order_by("id")[:500]
    context = _context(look) | {
        "chart": drawn,
        "svg": svg(drawn, clock=_clock),
        "log": events,
        "printed": look.now,
        "day": f"{datetime.fromtimestamp(look.now, UTC):%d %b %Y}",
    }
    return render(request, "rollouts/report.html", context)


# --- acts
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@answers_refusals
def act(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    """GET asks, POST acts. A page that is out of date gets 409 and the question as it is now."""
    if verb not in QUESTIONS:
        raise Http404("There is no such action.")
    question = QUESTIONS[verb]
    if request.method != "POST":
        _permit(request, question)
        return _ask(request, _look(request, pk).board, question)
    try:
        # No more of the row than an action needs: a rollback waits for it.
        _do(
            request, get_object_or_404(Rollout.objects.select_related("service__mesh"), pk=pk), verb
        )
    except NotAllowed:
        raise
    except ActionRefused as error:
        return _moved_on(request, pk, question, error)
    if request.headers.get("HX-Request") == "true":
        return render(request, "rollouts/rollout_parts.html", _context(_look(request, pk)))
    return redirect("rollout", pk)


def _permit(request: HttpRequest, question: Question) -> None:
    permission = UNDO if question.undo else OPERATE
    if not may(request.user, permission):
        names = " or ".join(groups_with(permission.partition(".")[2]))
        raise NotAllowed(f"You may look but not act.{f' Ask the {names} group.' if names else ''}")


def _do(request: HttpRequest, rollout: Rollout, verb: str) -> None:
    wish = ask(request, timezone.now())
    asked = is_requested(rollout) or rollout.phase == Phase.ROLLING_BACK
    # Only from a page that shows the first request; a second click at the same time is refused.
    if verb == "rollback" and asked and wish.expect == rollout.revision:
        _permit(request, QUESTIONS[verb])
        _again(rollout)
    elif verb == "promote":
        doors.act(actions.request_promote, rollout, step=rollout.step, ask=wish)
    else:
        doors.act(_ACTS[verb], rollout, ask=wish)


def _again(rollout: Rollout) -> None:
    """Try again what was asked for already: a tick right here, without any worker."""
    try:
        reconcile.tick_wish(rollout.service_id, clock.moment())
    except MeshuiError as error:
        raise ActionRefused(f"It did not work yet: {error}") from error


_ACTS: dict[str, Callable[..., None]] = {
    "pause": actions.request_pause,
    "resume": actions.request_resume,
    "promote-full": actions.request_promote_full,
    "rollback": actions.request_rollback,
    "abort": actions.request_abort,
}


def _moved_on(
    request: HttpRequest, pk: int, question: Question, error: ActionRefused
) -> HttpResponse:
    now = _look(request, pk).board
    sentence = f"{error} The rollout is now: {now.pill.label}. {what_is_now(now.rollout)}"
    if not any(action.verb == question.verb for action in now.actions):
        raise ActionRefused(sentence)
    return _ask(request, now, question, problem=sentence, status=409)


def _ask(
    request: HttpRequest, seen: Board, question: Question, *, problem: str = "", status: int = 200
) -> HttpResponse:
    words = question.words(seen)
    made = Confirm(
        title=words.title,
        button=words.button,
        action=reverse("rollout-act", args=[seen.rollout.pk, question.verb]),
        cancel=seen.rollout.get_absolute_url(),
        lines=words.lines,
        present=[(line.version, _present(seen, n)) for n, line in enumerate(seen.lines)],
        danger=question.undo,
        problem=problem,
        expect=seen.rollout.revision,
    )
    return confirm(request, made, status=status)


def _present(seen: Board, number: int) -> str:
    line = seen.lines[number]
    f = line.figures
    observed = "—" if f.observed is None else f"{f.observed:.1f} %"
    success = "no requests seen" if f.success is None else f"{f.success:.2f} % success"
    return (
        f"{observed} of traffic (desired {line.desired} %), {success}, "
        f"{line.healthy}/{line.wanted} tasks healthy"
    )
