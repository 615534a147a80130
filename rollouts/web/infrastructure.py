"""Infrastructure: meshes with their stacks and proxies, what to do next, and the parts of meshui.

A view of ``web.urls``; it reads rows and changes nothing. Stacks have their own pages
(``web.stacks``), adding and changing a mesh too (``web.meshes``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from rollouts.actions.stacks import STACKS
from rollouts.models import Heartbeat, Mesh, Proxy, Service, Stack
from rollouts.web.asks import groups_with
from rollouts.web.notices import router_notice
from rollouts.web.preview import duration

PARTS = {"worker": "Worker", "sampler": "Sampler", "controlplane": "Control plane"}
SILENT_AFTER_S = 5
PLATFORMS = {"local": "this machine", "ecs": "AWS, ECS on Fargate"}
ROUTERS = {"envoy": "Envoy", "alb": "load balancer", "appmesh": "App Mesh"}


@dataclass(frozen=True)
class Part:
    """A part of meshui. ``silent_s`` seconds without a sign of life; None: never seen."""

    name: str
    at: datetime | None
    silent_s: float | None

    @property
    def ok(self) -> bool:
        return self.silent_s is not None and self.silent_s <= SILENT_AFTER_S

    @property
    def words(self) -> str:
        if self.silent_s is None:
            return "not seen yet"
        return "answers" if self.ok else f"not answering for {duration(self.silent_s)}"


@dataclass(frozen=True)
class ProxyRow:
    """A proxy and, for each service of its mesh, the generation it has confirmed."""

    proxy: Proxy
    services: Sequence[tuple[Service, int | None, bool]]


@dataclass(frozen=True)
class Next:
    """What a person does next with a mesh: a sentence, and where. Not ``urgent``: wait."""

    text: str
    url: str
    button: str
    urgent: bool = True


@dataclass(frozen=True)
class MeshCard:
    """One mesh as the page shows it."""

    mesh: Mesh
    stacks: Sequence[Stack]
    proxies: Sequence[ProxyRow]
    next: Next | None
    notice: str

    @property
    def where(self) -> str:
        platform = PLATFORMS.get(self.mesh.platform, self.mesh.platform)
        region = self.mesh.settings.get("region", "")
        router = ROUTERS.get(self.mesh.router, self.mesh.router)
        return ", ".join(part for part in (platform, region, f"router: {router}") if part)

    @property
    def fake(self) -> bool:
        return bool(self.on_aws and settings.AWS_FAKE)

    @property
    def on_aws(self) -> bool:
        return self.mesh.platform in STACKS

    @property
    def has_proxies(self) -> bool:
        """Only Envoy asks meshui for its configuration."""
        return self.mesh.router not in ("alb", "appmesh")

    @property
    def deletable(self) -> bool:
        return self.on_aws and all(stack.phase == "absent" for stack in self.stacks)


def parts(now: datetime) -> list[Part]:
    """The parts that must answer, in fixed order."""
    beats = {beat.name: beat.at for beat in Heartbeat.objects.filter(name__in=PARTS)}
    return [
        Part(label, beats.get(name), (now - beats[name]).total_seconds() if name in beats else None)
        for name, label in PARTS.items()
    ]


def proxy_rows(mesh: Mesh) -> list[ProxyRow]:
    """Three queries, whatever the number of proxies."""
    services = list(mesh.services.all())
    found = []
    for proxy in mesh.proxies.order_by("node").prefetch_related("acknowledgements"):
        confirmed = {ack.service_id: ack.generation for ack in proxy.acknowledgements.all()}
        found.append(
            ProxyRow(
                proxy,
                [
                    (s, confirmed.get(s.pk), confirmed.get(s.pk, -1) >= s.generation)
                    for s in services
                ],
            )
        )
    return found


def in_order(mesh: Mesh) -> list[Stack]:
    """The stacks of a mesh, each after those that it needs."""
    names = STACKS.get(mesh.platform, ())
    place: Mapping[str, int] = {name: number for number, name in enumerate(names)}
    stacks = list(mesh.stacks.all())
    for stack in stacks:
        stack.mesh = mesh  # saves a query for each link
    return sorted(stacks, key=lambda stack: (place.get(stack.name, len(place)), stack.pk))


def next_step(mesh: Mesh, stacks: Sequence[Stack]) -> Next | None:
    """What to do next with a mesh; None when everything is there and served."""
    for stack in stacks:
        step = _next_of(stack)
        if step is not None:
            return step
    services = list(mesh.services.all())
    if not services:
        url = f"{reverse('service-add')}?mesh={mesh.pk}"
        return Next("add a service, with its first version.", url, "Add a service")
    idle = next((s for s in services if s.stable_id is None and not s.weights), None)
    if idle is None:
        return None
    return Next(f"deploy a version of {idle.slug}.", idle.get_absolute_url(), f"Open {idle.slug}")


def _next_of(stack: Stack) -> Next | None:
    url, name = stack.get_absolute_url(), stack.name
    if stack.phase == "ready":
        return None
    if stack.phase == "failed":
        return Next(f"see why {name} failed.", url, f"Open {name}")
    if stack.phase == "proposed":
        return Next(f"confirm the changes of {name}, or drop them.", url, f"Open {name}")
    if stack.phase in Stack.WORKING:
        return Next(f"wait: {name} is at work.", url, f"Watch {name}", urgent=False)
    if stack.kind == "cloudformation":
        return Next(f"work out the changes of {name}; nothing is made yet.", url, f"Open {name}")
    return Next(f"create {name}.", url, f"Open {name}")


def _card(mesh: Mesh) -> MeshCard:
    stacks = in_order(mesh)
    return MeshCard(
        mesh, stacks, proxy_rows(mesh), next_step(mesh, stacks), router_notice(mesh.router)
    )


@require_GET
def infrastructure(request: HttpRequest) -> HttpResponse:
    meshes = Mesh.objects.order_by("slug").prefetch_related("stacks", "services")
    may = request.user.has_perm("rollouts.provision_mesh")
    context = {
        "cards": [_card(mesh) for mesh in meshes],
        "on_aws": any(mesh.platform in STACKS for mesh in meshes),
        "parts": parts(timezone.now()),
        "may": may,
        "groups": groups_with("provision_mesh"),
    }
    part = request.headers.get("HX-Request") == "true"
    template = "rollouts/parts/stack_infra.html" if part else "rollouts/infrastructure.html"
    return render(request, template, context)
