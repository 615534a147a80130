"""The provisioner ``local``: a mesh of processes on this machine, with the sample services.

One Envoy under the supervisor, ``echo_client`` behind the public endpoint, ``echo_server`` 0.9
behind that; then the endpoint is asked once, as a person would. It creates rows for services and
their first rollouts, ticks do the rest. Each call looks at what is there and does what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from rollouts.errors import ProvisionerError
from rollouts.models import Proxy, Service, Stack
from rollouts.stacks import sample
from rollouts.stacks.base import Change, Line, Progress
from rollouts.supervisor.client import SupervisorClient, SupervisorRefused, SupervisorUnreachable

ASK_S = 3.0


@dataclass(frozen=True)
class Resource:
    """One thing of the stack. ``make`` asks for it, ``there`` looks: "" or why not yet.

    ``undo`` takes it away, ``gone`` looks in the same way.
    """

    name: str
    kind: str
    about: str
    make: Callable[[Stack], None]
    there: Callable[[Stack], str]
    undo: Callable[[Stack], None]
    gone: Callable[[Stack], str]


class LocalProvisioner:
    proposes = False

    def preview(self, stack: Stack) -> Sequence[Change]:
        return [
            Change("nothing" if stack.phase == "ready" else "create", r.name, r.kind, r.about)
            for r in RESOURCES
        ]

    def advance(self, stack: Stack) -> Progress:
        if stack.wanted == Stack.PRESENT:
            return _walk(stack, RESOURCES, "creating", "ready")
        return _walk(stack, tuple(reversed(RESOURCES)), "deleting", "absent")


def _walk(stack: Stack, resources: Sequence[Resource], working: str, finished: str) -> Progress:
    """One step further along ``resources``; ``stack.step`` names the one that is under way."""
    making = working == "creating"
    started, done = stack.step.rpartition(":")[2], stack.done
    if not stack.step.startswith(f"{working}-{stack.attempt}:"):
        started, done = "", 0
    resource = resources[done]
    verb = "CREATE" if making else "DELETE"
    if started != resource.name:
        # Made all at once, for none needs another to start; then each is waited for, in order.
        for each in resources[done:] if making else (resource,):
            (each.make if making else each.undo)(stack)
        line = Line(resource.name, resource.kind, f"{verb}_IN_PROGRESS")
        return _progress(stack, working, resource.name, done, len(resources), (line,))
    missing = (resource.there if making else resource.gone)(stack)
    if missing:
        (resource.make if making else resource.undo)(stack)  # level: ask again, it is harmless
        return _progress(stack, working, resource.name, done, len(resources), (), missing)
    line = Line(resource.name, resource.kind, f"{verb}_COMPLETE", resource.about if making else "")
    phase = finished if done + 1 == len(resources) else working
    outputs = _outputs(stack) if phase == "ready" else {}
    lines = (line, *(Line(stack.name, "Output", "OUTPUT", f"{k}: {v}") for k, v in outputs.items()))
    return _progress(stack, phase, "", done + 1, len(resources), lines, outputs=outputs)


def _progress(
    stack: Stack, phase: str, started: str, done: int, total: int, lines: Sequence[Line],
    reason: str = "", outputs: Mapping[str, str] | None = None,
) -> Progress:  # fmt: skip
    step = f"{phase}-{stack.attempt}:{started}"
    public = (outputs or {}).get("endpoint") if phase == "ready" else ""
    return Progress(phase, step, done, total, lines, outputs or {}, reason, endpoint=public)


def _outputs(stack: Stack) -> dict[str, str]:
    return {"endpoint": endpoint(stack), "answer": _ask(stack)}


def endpoint(stack: Stack) -> str:
    """The public address of the mesh, as a person on this machine calls it."""
    given = str(stack.mesh.settings.get("public", f"{settings.BIND}:{settings.PUBLIC_PORT}"))
    host, _, port = given.rpartition(":")
    return f"http://{'127.0.0.1' if host in ('0.0.0.0', '::', '') else host}:{port}"  # noqa: S104


# --- Envoy


def _group(stack: Stack) -> str:
    return f"stack-{stack.pk}"


def _node(stack: Stack) -> str:
    return f"{stack.mesh.slug}-envoy-1"


def _envoy_set(stack: Stack) -> dict[str, Any]:
    admin = stack.mesh.settings.get("admin") or [f"127.0.0.1:{settings.ENVOY_ADMIN_PORT}"]
    argv = ["{python}", "-m", "rollouts.xds.launch", "--node", _node(stack)]
    argv += ["--mesh", stack.mesh.slug, "--control-plane", settings.CONTROL_PLANE]
    argv += ["--admin", admin[0], "--state-dir", str(settings.STATE / "xds")]
    _, _, port = admin[0].rpartition(":")
    return {
        "set": "envoy",
        "count": 1,
        "argv": argv,
        "env": {},
        "cwd": str(settings.BASE_DIR),
        "port": int(port),
        "health": {
            "kind": "http",
            "path": "/ready",
            "service": "",
            "interval_s": 1.0,
            "timeout_s": 1.0,
        },
        "grace_s": 5.0,
        "restart": True,
    }


def _apply(stack: Stack, sets: Sequence[Mapping[str, Any]]) -> None:
    try:
        _supervisor().apply(_group(stack), stack.attempt, sets)
    except SupervisorUnreachable as error:
        raise ProvisionerError(str(error)) from error
    except SupervisorRefused as error:
        raise ProvisionerError(str(error), permanent=not error.stale) from error


def _supervisor() -> SupervisorClient:
    return SupervisorClient(settings.SUPERVISOR_SOCKET)


def _envoys(stack: Stack) -> list[Mapping[str, Any]]:
    try:
        tasks: list[Mapping[str, Any]] = _supervisor().observe(_group(stack))["tasks"]
    except SupervisorUnreachable as error:
        raise ProvisionerError(str(error)) from error
    return tasks


def _start_envoy(stack: Stack) -> None:
    _apply(stack, [_envoy_set(stack)])


def _stop_envoy(stack: Stack) -> None:
    _apply(stack, [])


def _envoy_runs(stack: Stack) -> str:
    tasks = _envoys(stack)
    if any(task["pid"] and task["state"] in ("starting", "running") for task in tasks):
        return ""
    last = next((task["last_exit"] for task in tasks if task["last_exit"]), None)
    return f"Envoy {last['text']}: {' '.join(last['log'][-2:])}" if last else "Envoy is starting."


def _envoy_gone(stack: Stack) -> str:
    return "Envoy is stopping." if _envoys(stack) else ""


def _connected(stack: Stack) -> str:
    proxy = Proxy.objects.filter(mesh=stack.mesh, node=_node(stack)).first()
    return "" if proxy and proxy.connected else "Envoy has not asked the control plane yet."


# --- services


def _service(spec: sample.Spec) -> Resource:
    def make(stack: Stack) -> None:
        sample.ensure(stack.mesh, spec, timezone.now())

    def there(stack: Stack) -> str:
        return sample.missing(stack.mesh, spec)

    def undo(stack: Stack) -> None:
        for service in Service.objects.filter(mesh=stack.mesh, slug=spec.slug):
            Service.objects.put_to_rest(service.pk, timezone.now())

    def gone(stack: Stack) -> str:
        return _tasks_left(Service.objects.filter(mesh=stack.mesh, slug=spec.slug))

    return Resource(spec.slug, "Service", spec.about, make, there, undo, gone)


def _tasks_left(services: Any) -> str:
    left = sum(service.running.count() for service in services)
    return f"{left} tasks are stopping." if left else ""


def _nothing(stack: Stack) -> None:
    """For what needs no asking."""


def _rest_others(stack: Stack) -> None:
    """Services that people added go to rest with the mesh; their rows stay."""
    for service in Service.objects.filter(mesh=stack.mesh):
        Service.objects.put_to_rest(service.pk, timezone.now())


def _others_gone(stack: Stack) -> str:
    return _tasks_left(Service.objects.filter(mesh=stack.mesh))


# --- the endpoint


def _ask(stack: Stack) -> str:
    """Ask the public endpoint once; raises ProvisionerError when it does not answer."""
    url = f"{endpoint(stack)}/?name=Yizumi"
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=ASK_S) as answer:
            return str(answer.read(500).decode("utf-8", "replace")).strip()
    except (URLError, OSError) as error:
        raise ProvisionerError(f"{url} does not answer yet: {error}.") from error


def _answers(stack: Stack) -> str:
    try:
        _ask(stack)
    except ProvisionerError as error:
        return str(error)
    return ""


def _always(stack: Stack) -> str:
    return ""


@transaction.atomic
def _forget_proxies(stack: Stack) -> None:
    _stop_envoy(stack)
    Proxy.objects.filter(mesh=stack.mesh).delete()


RESOURCES: tuple[Resource, ...] = (
    Resource("Envoy", "Process", "load balancer and virtual router", _start_envoy, _envoy_runs,
             _stop_envoy, _envoy_gone),
    Resource("Configuration", "xDS", "Envoy follows the control plane", _nothing, _connected,
             _rest_others, _others_gone),
    _service(sample.ECHO_SERVER),
    _service(sample.ECHO_CLIENT),
    Resource("Endpoint", "HTTP", "answers as a caller sees it", _nothing, _answers, _nothing,
             _always),
)  # fmt: skip
