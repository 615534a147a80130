"""Rows to the mesh that the control plane serves, and what proxies say back to rows.

The only part of ``xds`` that knows models. Called by the ``controlplane`` command, in a thread.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from rollouts import models
from rollouts.errors import InvalidInput, InvalidMesh
from rollouts.xds.proxies import ProxyState
from rollouts.xds.sidecar import control_plane_address
from rollouts.xds.snapshot import Address, Endpoint, HealthCheck, Mesh, Target, VirtualService

LOCAL = "local"
SIDECAR_EGRESS = "127.0.0.1:15001"
# Of a service, what proxies hear of.
COLUMNS = (
    *("slug", "name", "protocol", "public_prefix", "health_kind", "health_path", "timeout_s"),
    *("idempotent", "stable_id", "weights", "generation"),
)


def load(slug: str) -> Mesh | None:
    """The mesh as the rows have it now, in four queries; None when there is no such mesh.

    Raises InvalidMesh when its settings name an address that is none.
    """
    mesh = models.Mesh.objects.filter(slug=slug, router="envoy").first()
    if mesh is None:
        return None
    services = list(mesh.services.order_by("pk"))
    versions: dict[int, list[models.Version]] = {}
    for version in models.Version.objects.filter(service__mesh=mesh, count__gt=0):
        versions.setdefault(version.service_id, []).append(version)
    tasks = _by_version(models.Task.objects.filter(service__mesh=mesh))
    return Mesh(
        name=mesh.slug,
        public=_public(mesh),
        egress=_address(mesh, "egress", _egress(mesh)),
        services=tuple(_service(s, versions.get(s.pk, []), tasks) for s in services),
    )


def newer_weights(slug: str, known: VirtualService) -> VirtualService | None:
    """The service with newer weights than ``known``, in one small query; None when there are none.

    Also None when they name a version that is not known: then only a whole read will do.
    """
    row = (
        models.Service.objects.filter(
            mesh__slug=slug, name=known.name, generation__gt=known.generation
        )
        .values_list("slug", "weights", "generation", "stable_id")
        .first()
    )
    if row is None:
        return None
    of, stored, generation, stable = row
    weights = {f"{of}--{pk}": weight for pk, weight in stored.items()}
    names = {target.name for target in known.targets}
    if not weights.keys() <= names:
        return None
    home = f"{of}--{stable}"
    return replace(
        known,
        weights=weights,
        generation=generation,
        stable=home if weights and home in names else None,
    )


def load_service(slug: str, name: str) -> VirtualService | None:
    """One service of a mesh as the rows have it now; as quick in a large mesh as in a small one."""
    service = models.Service.objects.filter(mesh__slug=slug, name=name).only(*COLUMNS).first()
    if service is None:
        return None
    versions = list(service.versions.filter(count__gt=0).only("service_id"))
    return _service(service, versions, _by_version(models.Task.objects.filter(service=service)))


def _by_version(rows: QuerySet[models.Task]) -> dict[int, list[models.Task]]:
    """Of each version the tasks, with no more columns than a proxy hears of."""
    found: dict[int, list[models.Task]] = {}
    needed = rows.select_related("version").only("host", "port", "index", "version__keep")
    for task in needed:
        found.setdefault(task.version_id, []).append(task)
    return found


def _public(mesh: models.Mesh) -> Address | None:
    """The way in. Elsewhere than on this machine a load balancer is it, unless settings say so."""
    if mesh.platform != LOCAL and not mesh.settings.get("public"):
        return None
    return _address(mesh, "public", f"{settings.BIND}:{settings.PUBLIC_PORT}")


def _egress(mesh: models.Mesh) -> str:
    if mesh.platform == LOCAL:
        return f"{settings.BIND}:{settings.EGRESS_PORT}"
    return SIDECAR_EGRESS


def _address(mesh: models.Mesh, key: str, default: str) -> Address:
    """Where a listener listens: the mesh's setting ``host:port``. Raises InvalidMesh."""
    text = str(mesh.settings.get(key) or default)
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not (_is_address(host) and port.isdigit() and 1 <= int(port) <= 65535):
        raise InvalidMesh(key, f"{mesh.slug}: {key} must be an IP address and port, not {text!r}.")
    return Address(host, int(port))


def _service(
    service: models.Service,
    versions: list[models.Version],
    tasks: Mapping[int, list[models.Task]],
) -> VirtualService:
    weighted = {int(pk): weight for pk, weight in service.weights.items()}
    targets = {v.pk: _target(service, v, tasks.get(v.pk, [])) for v in versions}
    stable = targets.get(service.stable_id or 0)
    return VirtualService(
        name=service.name,
        protocol="grpc" if service.protocol == "grpc" else "http",
        targets=tuple(targets.values()),
        weights={targets[pk].name: w for pk, w in weighted.items() if pk in targets},
        generation=service.generation,
        stable=stable.name if stable and weighted else None,
        idempotent=service.idempotent,
        public_prefix=service.public_prefix or None,
        timeout_s=service.timeout_s,
    )


def _target(service: models.Service, version: models.Version, tasks: list[models.Task]) -> Target:
    return Target(
        name=f"{service.slug}--{version.pk}",
        endpoints=tuple(
            Endpoint(task.host, task.port, draining=task.draining)
            for task in tasks
            if task.port and _is_address(task.host)
        ),
        http2=service.protocol == "grpc",
        health=_health(service),
    )


def _health(service: models.Service) -> HealthCheck:
    kinds = {"grpc": "grpc", "http": "http", "tcp": "tcp"}
    kind = kinds.get(service.health_kind, "none")
    return HealthCheck(kind, path=service.health_path or "/", interval_s=0.5)  # type: ignore[arg-type]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def meshes() -> list[str]:
    return list(models.Mesh.objects.filter(router="envoy").values_list("slug", flat=True))


def control_plane_names() -> list[str]:
    """The hosts by which Envoys elsewhere reach the control plane, as the meshes' settings say."""
    kept = models.Mesh.objects.filter(router="envoy").exclude(platform=LOCAL)
    names = set()
    for chosen in kept.values_list("settings", flat=True):
        # One that is wrong is refused where it is saved; here it must not stop the others.
        with suppress(InvalidInput):
            names.add(control_plane_address(str(chosen.get("control_plane") or "")).host)
    return sorted(names)


def fingerprint() -> object:
    """Differs whenever something that ``load`` reads may differ; one cheap query each poll."""
    services = models.Service.objects.order_by("pk").values_list("pk", "ticks", "generation")
    tasks = models.Task.objects.order_by("name").values_list(
        "name", "host", "port", "version_id", "version__keep"
    )
    return list(services), list(tasks), list(models.Mesh.objects.values_list("slug", "settings"))


def known_proxies(now: datetime) -> list[ProxyState]:
    """Proxies that the last control plane knew. One that was connected was cut off just now."""
    rows = models.Proxy.objects.select_related("mesh")
    return [
        ProxyState(
            node=row.node,
            mesh=row.mesh.slug,
            connected=False,
            connected_at=row.connected_at or now,
            disconnected_at=now if row.connected else row.disconnected_at or now,
            generations={},
            synced=False,
            nack=None,
            last_seen=row.seen_at or now,
        )
        for row in rows
    ]


@transaction.atomic
def write(states: Iterable[ProxyState], now: datetime) -> None:
    """Make the Proxy and Acknowledgement rows what the proxies said."""
    meshes = {mesh.slug: mesh for mesh in models.Mesh.objects.all()}
    # A name is unique in its mesh only.
    services: dict[int, dict[str, int]] = {}
    for mesh, name, pk in models.Service.objects.values_list("mesh_id", "name", "pk"):
        services.setdefault(mesh, {})[name] = pk
    for state in states:
        if (mesh_row := meshes.get(state.mesh)) is not None:
            _write_one(mesh_row, state, services.get(mesh_row.pk, {}), now)


def _write_one(
    mesh: models.Mesh,
    state: ProxyState,
    services: Mapping[str, int],
    now: datetime,
) -> None:
    proxy, _ = models.Proxy.objects.update_or_create(
        mesh=mesh,
        node=state.node,
        defaults={
            "connected": state.connected,
            "connected_at": state.connected_at,
            "disconnected_at": state.disconnected_at,
            "seen_at": state.last_seen,
            "nack": state.nack or "",
        },
    )
    known = dict(proxy.acknowledgements.values_list("service_id", "generation"))
    for name, generation in state.generations.items():
        service = services.get(name)
        if service is not None and known.get(service) != generation:
            models.Acknowledgement.objects.update_or_create(
                proxy=proxy, service_id=service, defaults={"generation": generation, "at": now}
            )
