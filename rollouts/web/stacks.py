"""The page of one stack: what would change, what happens, what it left; and its buttons.

Views of ``web.urls``. They read rows, ask a provisioner that needs no confirmation for its preview,
and pass wishes on through ``doors``; a worker creates, changes and destroys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from statistics import median
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from rollouts import actions, doors
from rollouts.actions import Ask
from rollouts.actions.stacks import CONTINUE, STACKS
from rollouts.errors import InvalidInput, ProvisionerError, Stale
from rollouts.models import Mesh, Stack, StackEvent
from rollouts.stacks.base import Change, provisioner
from rollouts.web.asks import answers_refusals, ask, groups_with, new_request_id
from rollouts.web.infrastructure import parts
from rollouts.web.preview import duration
from rollouts.web.proposal import WAYS_OUT, drift_of, proposal_of, status_of, survivors_of

EVENTS_SHOWN = 500
SKEW = timedelta(seconds=5)  # between AWS's clock and ours
COUNTED = ("creating", "updating", "deleting")
# A resource that was cancelled because another one failed is not why.
CONSEQUENCES = ("Resource creation cancelled", "Resource update cancelled")


@require_GET
def stack(request: HttpRequest, mesh: str, name: str) -> HttpResponse:
    found = _stack(mesh, name)
    part = request.headers.get("HX-Request") == "true"
    template = "rollouts/parts/stack_state.html" if part else "rollouts/stack.html"
    return render(request, template, _context(request, found))


def _stack(mesh: str, name: str) -> Stack:
    return get_object_or_404(Stack.objects.select_related("mesh"), mesh__slug=mesh, name=name)


def _context(request: HttpRequest, found: Stack) -> dict[str, Any]:
    now = timezone.now()
    problems = request.GET.get("show") == "problems"
    spent = (now - found.requested_at).total_seconds() if found.requested_at else 0.0
    usual = usual_s(found)
    return {
        "stack": found,
        "url": found.get_absolute_url(),
        "pill": pill(found),
        "events": events(found, problems=problems),
        "problems": problems,
        "busy": found.phase in Stack.WORKING,
        "counted": found.phase in COUNTED,
        "asked": found.requested_at and not _settled(found) and found.phase not in Stack.WORKING,
        "outputs": [(key, value, _is_link(value)) for key, value in sorted(found.outputs.items())],
        "usual": duration(usual) if usual else "",
        "slow": bool(usual and found.phase in COUNTED and spent > 2 * usual),
        "topic": f"stack-{found.pk}",
        "parts": [part for part in parts(now) if not part.ok],
        "may": request.user.has_perm(actions.stacks.PROVISION),
        "groups": groups_with("provision_mesh"),
        "request_id": new_request_id(),
        **_proposing(found),
    }


def _proposing(found: Stack) -> dict[str, Any]:
    """What only stacks have whose changes a person confirms."""
    proposes = provisioner(found.kind).proposes
    failed = found.phase == "failed"
    return {
        "proposes": proposes,
        "proposal": proposal_of(found) if found.phase == "proposed" else None,
        "nothing": _nothing(found),
        "drift": drift_of(found) if proposes and found.phase == "ready" else None,
        "missing": missing(found) if proposes else None,
        "status": status_of(found),
        "way_out": WAYS_OUT.get(status_of(found)) if failed else None,
        "first": first_failure(found) if failed else None,
        "survivors": survivors_of(found) if failed else [],
    }


def missing(found: Stack) -> Stack | None:
    """The first earlier stack whose outputs this one needs and that is not there."""
    names = STACKS.get(found.mesh.platform, ())
    before = names[: names.index(found.name)] if found.name in names else ()
    rows = {stack.name: stack for stack in Stack.objects.filter(mesh=found.mesh, name__in=before)}
    return next((rows[n] for n in before if n in rows and not rows[n].outputs), None)


def later(found: Stack) -> Stack | None:
    """The last later stack that is there: it must go before this one can."""
    names = STACKS.get(found.mesh.platform, ())
    after = names[names.index(found.name) + 1 :] if found.name in names else ()
    there = Stack.objects.filter(mesh=found.mesh, name__in=after).exclude(phase="absent")
    return max(there, key=lambda stack: names.index(stack.name), default=None)


def first_failure(found: Stack) -> StackEvent | None:
    """The first thing that went wrong since the request, not what it took along."""
    since = (found.requested_at or found.mesh.created_at) - SKEW
    rows = found.events.filter(status__iendswith="failed", at__gte=since).exclude(reason="")
    for consequence in CONSEQUENCES:
        rows = rows.exclude(reason__startswith=consequence)
    return rows.order_by("at", "id").first()


def _settled(found: Stack) -> bool:
    """Is the fact what was wished, or has the machine given up?"""
    ends = {Stack.PRESENT: "ready", Stack.ABSENT: "absent", Stack.PROPOSAL: "proposed"}
    return found.phase in (ends[found.wanted], "failed") or _nothing(found)


def _nothing(found: Stack) -> bool:
    """The answer to a wish for a proposal was that there is nothing to change."""
    asked = found.wanted == Stack.PROPOSAL and found.phase == "ready"
    return asked and bool(found.proposal.get("nothing"))


def pill(found: Stack) -> str:
    """The state in words, with real counts: "Creating, 3 of 7 resources"."""
    words = found.get_phase_display()
    return f"{words}, {found.done} of {found.total} resources" if found.phase in COUNTED else words


def _is_link(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))


def events(found: Stack, *, problems: bool) -> list[StackEvent]:
    """Newest first. A problem has FAILED in its status, whatever the provisioner."""
    chosen = found.events.all()
    if problems:
        chosen = chosen.filter(status__icontains="fail")
    return list(chosen[:EVENTS_SHOWN])


def usual_s(found: Stack) -> float | None:
    """Median seconds from request to ready of stacks of this kind and name; None: no history."""
    alike = Stack.objects.filter(kind=found.kind, ready_at__isnull=False).exclude(pk=found.pk)
    if provisioner(found.kind).proposes:
        alike = alike.filter(name=found.name)
    spans = [
        (ready - asked).total_seconds()
        for asked, ready in alike.values_list("requested_at", "ready_at")
        if asked and ready and ready >= asked
    ]
    return median(spans) if spans else None


# --- buttons: forms of the page itself, each does one thing and comes back


@require_POST
@answers_refusals
def stack_act(request: HttpRequest, mesh: str, name: str, verb: str) -> HttpResponse:
    """Propose, apply, discard, drift or continue. A page that is out of date gets 409."""
    if verb not in _ACTS:
        raise Http404("There is no such action.")
    found = _stack(mesh, name)
    try:
        _ACTS[verb](found, request, ask(request, timezone.now()))
    except Stale as error:
        context = _context(request, _stack(mesh, name)) | {"stale": str(error)}
        return render(request, "rollouts/stack.html", context, status=409)
    return redirect(found)


def _propose(found: Stack, request: HttpRequest, asked: Ask) -> None:
    doors.act(actions.request_proposal, found, ask=asked)


def _apply(found: Stack, request: HttpRequest, asked: Ask) -> None:
    seen = request.POST.get("change_set", "")[:300]
    # "continue" is the other button's word, and that one says what it does.
    change_set = "" if seen == CONTINUE else seen
    doors.act(actions.request_provision, found, change_set=change_set, ask=asked)


def _discard(found: Stack, request: HttpRequest, asked: Ask) -> None:
    doors.act(actions.request_discard, found, ask=asked)


def _drift(found: Stack, request: HttpRequest, asked: Ask) -> None:
    doors.act(actions.request_drift, found, ask=asked)


def _continue(found: Stack, request: HttpRequest, asked: Ask) -> None:
    doors.act(actions.request_provision, found, change_set=CONTINUE, ask=asked)


_ACTS: dict[str, Callable[[Stack, HttpRequest, Ask], None]] = {
    "propose": _propose,
    "apply": _apply,
    "discard": _discard,
    "drift": _drift,
    "continue": _continue,
}


# --- create (without a proposal) and destroy: a page asks first


@require_http_methods(["GET", "HEAD", "POST"])
@answers_refusals
def stack_create(request: HttpRequest, mesh: str, name: str) -> HttpResponse:
    """GET shows what would be created, POST asks for it."""
    found = _stack(mesh, name)
    if request.method == "POST":
        doors.act(actions.request_provision, found, ask=ask(request, timezone.now()))
        return redirect(found)
    if provisioner(found.kind).proposes:
        return redirect(found)
    changes, problem = preview(found)
    context = {"verb": "create", "changes": changes, "problem": problem}
    return _confirm(request, found, context)


def preview(found: Stack) -> tuple[Sequence[Change], str]:
    """The changes, or none and the sentence why they cannot be known."""
    try:
        return provisioner(found.kind).preview(found), ""
    except ProvisionerError as error:
        return (), str(error)


@require_http_methods(["GET", "HEAD", "POST"])
@answers_refusals
def stack_delete(request: HttpRequest, mesh: str, name: str) -> HttpResponse:
    """GET says what is lost and kept, POST with the typed name asks for it."""
    found = _stack(mesh, name)
    context: dict[str, Any] = {"verb": "delete", "services": found.mesh.services.all()}
    if request.method == "POST":
        left = {item.resource for item in survivors_of(found)}
        retain = [name for name in request.POST.getlist("retain") if name in left]
        typed = request.POST.get("typed_name", "")[:200]
        try:
            asked = ask(request, timezone.now())
            doors.act(
                actions.request_deprovision, found, typed_name=typed, retain=retain, ask=asked
            )
            return redirect(found)
        except InvalidInput as error:
            context |= {"wrong": str(error), "retained": retain}
    return _confirm(request, found, context, status=422 if "wrong" in context else 200)


# What destroying a stack of a mesh on AWS takes along, and what it leaves.
LOST = {
    "infra": (
        "The network, the cluster and the name space are removed.",
        "The image repositories are removed with every image in them: versions cannot start again "
        "from them.",
    ),
    "mesh": ("What moves the requests is removed, with its security groups and certificates.",),
    "app": (
        "The public endpoint, echo_client and every task of echo_server stop and are removed.",
        "The public address is lost; a new one is another one.",
    ),
}
KEPT = {"infra": "The log group stays, with what is in it."}


def _confirm(
    request: HttpRequest, found: Stack, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    proposes = provisioner(found.kind).proposes
    context |= {
        "stack": found,
        "pill": pill(found),
        "request_id": new_request_id(),
        "may": request.user.has_perm(actions.stacks.PROVISION),
        "groups": groups_with("provision_mesh"),
        "lost": LOST.get(found.name, ()) if proposes else (),
        "kept": KEPT.get(found.name, "") if proposes else "",
        "later": later(found),
        "survivors": survivors_of(found) if status_of(found) == "DELETE_FAILED" else [],
        "aws_name": aws_name(found.mesh, found) if proposes else "",
    }
    return render(request, "rollouts/confirm_stack.html", context, status=status)


def aws_name(mesh: Mesh, found: Stack) -> str:
    """What the stack is called on AWS."""
    return f"{mesh.slug}-{found.name}"
