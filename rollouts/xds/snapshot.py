"""What every proxy of one mesh should be configured with, as data.

PURE: a :class:`Mesh` (plain facts, read from rows by the caller) goes in, a :class:`Snapshot`
(serialised Envoy resources) comes out. The same mesh always gives the same bytes, so two control
planes that read the same rows agree on every version. Must not know models, sockets or clocks.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import Literal

from rollouts.errors import InvalidMesh
from rollouts.xds import resources
from rollouts.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES

PUBLIC = "public"
EGRESS = "egress"


@dataclass(frozen=True)
class Address:
    """A TCP address. ``host`` is an IP address, not a name: the data plane resolves nothing.

    Only the control plane's own, in the bootstrap of a sidecar, may be a name.
    """

    host: str
    port: int


@dataclass(frozen=True)
class HealthCheck:
    """How the proxy asks an endpoint whether it is well. ``none`` trusts the endpoint always."""

    kind: Literal["grpc", "http", "tcp", "none"]
    path: str = "/"
    service: str = ""
    interval_s: float = 1.0
    timeout_s: float = 1.0


@dataclass(frozen=True)
class Endpoint:
    """One task. ``draining`` gets no new requests; those in flight may finish."""

    host: str
    port: int
    draining: bool = False


@dataclass(frozen=True)
class Target:
    """One version's tasks: App Mesh calls it a virtual node, Envoy a cluster."""

    name: str
    endpoints: tuple[Endpoint, ...]
    http2: bool
    health: HealthCheck


@dataclass(frozen=True)
class VirtualService:
    """A name that callers use, and how its requests are split.

    ``weights`` maps target names to whole percents that sum to 100, or is empty while the service
    has no version. ``stable`` is the target that a failed attempt falls back to. ``timeout_s``
    bounds one request with all its attempts; ``max_stream_s`` bounds the life of a gRPC stream,
    so that long streams follow the weights in the end (None: unbounded).
    """

    name: str
    protocol: Literal["grpc", "http"]
    targets: tuple[Target, ...]
    weights: Mapping[str, int]
    generation: int
    stable: str | None
    idempotent: bool
    public_prefix: str | None
    timeout_s: float
    max_stream_s: float | None = 600.0


@dataclass(frozen=True)
class Mesh:
    """Everything the proxies of one mesh serve. ``public`` None: no way in from outside."""

    name: str
    public: Address | None
    egress: Address
    services: tuple[VirtualService, ...]


@dataclass(frozen=True)
class Sidecar:
    """A proxy beside one task. ``loopback`` is the loopback address that it shares with the task:
    not 127.0.0.1 where several tasks share one network."""

    loopback: str = "127.0.0.1"


@dataclass(frozen=True)
class Snapshot:
    """Serialised ``google.protobuf.Any`` bytes by type URL and resource name.

    ``versions`` are content hashes: equal content is never pushed twice. ``references`` are the
    clusters that the routes point at. ``generations`` say which weights of each service this is.
    """

    resources: Mapping[str, Mapping[str, bytes]]
    generations: Mapping[str, int]
    references: frozenset[str]
    versions: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        versions = {kind: content_version(named) for kind, named in self.resources.items()}
        object.__setattr__(self, "versions", MappingProxyType(versions))


def content_version(named: Mapping[str, bytes]) -> str:
    """Hash resources to 16 hex digits, the same in every process."""
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(named):
        for part in (name.encode(), named[name]):
            # The length keeps ("ab", "c") and ("a", "bc") apart.
            digest.update(len(part).to_bytes(4, "big") + part)
    return digest.hexdigest()


def snapshot(mesh: Mesh) -> Snapshot:
    """Build every resource of the mesh. Raises InvalidMesh with a sentence for a person."""
    check(mesh)
    targets = [target for service in mesh.services for target in service.targets]
    return Snapshot(
        resources={
            CLUSTER: _clusters(mesh),
            ENDPOINTS: {target.name: resources.load_assignment(target) for target in targets},
            LISTENER: _listeners(mesh),
            ROUTES: _routes(mesh),
        },
        generations={service.name: service.generation for service in mesh.services},
        references=frozenset(chain.from_iterable(map(_referenced, mesh.services))),
    )


def _clusters(mesh: Mesh) -> dict[str, bytes]:
    named = {}
    for service in mesh.services:
        for target in service.targets:
            named[target.name] = resources.cluster(target)
            routed = resources.routed_to(service, target.name)
            if service.stable is not None and routed != target.name:
                named[routed] = resources.fallback_cluster(target.name, service.stable)
    return named


def _referenced(service: VirtualService) -> Iterable[str]:
    """What requests can reach: the clusters in the routes, and those behind a fallback cluster."""
    for name, weight in service.weights.items():
        if weight > 0:
            yield from (name, resources.routed_to(service, name))
            if service.stable is not None:
                yield service.stable


def _listeners(mesh: Mesh) -> dict[str, bytes]:
    named = {EGRESS: resources.egress_listener(EGRESS, mesh.egress)}
    if mesh.public is not None:
        named[PUBLIC] = resources.public_listener(PUBLIC, mesh.public)
    return named


def _routes(mesh: Mesh) -> dict[str, bytes]:
    named = {EGRESS: resources.egress_routes(EGRESS, mesh.services)}
    if mesh.public is not None:
        named[PUBLIC] = resources.public_routes(PUBLIC, mesh.services)
    return named


def beside_a_task(whole: Snapshot, sidecar: Sidecar) -> Snapshot:
    """What of a mesh's snapshot a sidecar gets: the way out of its task, and no way in."""
    listener = resources.rebound(whole.resources[LISTENER][EGRESS], sidecar.loopback)
    return Snapshot(
        resources={
            **whole.resources,
            LISTENER: {EGRESS: listener},
            ROUTES: {EGRESS: whole.resources[ROUTES][EGRESS]},
        },
        generations=whole.generations,
        references=whole.references,
    )


def check(mesh: Mesh) -> None:
    """Refuse what Envoy would accept and then serve wrongly, or refuse without saying where.

    Envoy takes 60/60 silently, and answers 503 for a weight on a cluster that is not there.
    """
    _check_unique("name", [service.name for service in mesh.services])
    _check_unique("public_prefix", [s.public_prefix for s in mesh.services if s.public_prefix])
    _check_unique("targets", [t.name for s in mesh.services for t in s.targets])
    for service in mesh.services:
        _check_weights(service)
        _check_stable(service)
        _check_prefix(service)


def _check_unique(field: str, values: list[str]) -> None:
    for value, times in Counter(values).items():
        if times > 1:
            raise InvalidMesh(field, f"{value!r} is used {times} times; it must be unique.")


def _check_weights(service: VirtualService) -> None:
    known = {target.name for target in service.targets}
    for name, weight in service.weights.items():
        if name not in known:
            raise InvalidMesh(
                "weights", f"{service.name} has a weight for {name!r}, which is not its target."
            )
        # bool is an int to Python, but True is not a weight.
        if type(weight) is not int or not 0 <= weight <= 100:
            raise InvalidMesh(
                "weights",
                f"{service.name} gives {name!r} the weight {weight!r}; "
                "a weight is a whole percent from 0 to 100.",
            )
    total = sum(service.weights.values())
    if service.weights and total != 100:
        raise InvalidMesh("weights", f"The weights of {service.name} sum to {total}, not to 100.")


def _check_stable(service: VirtualService) -> None:
    known = {target.name for target in service.targets}
    if service.stable is not None and service.stable not in known:
        raise InvalidMesh(
            "stable", f"{service.name} names {service.stable!r} as stable, which is not its target."
        )


def _check_prefix(service: VirtualService) -> None:
    prefix = service.public_prefix
    if prefix is not None and not (prefix.startswith("/") and prefix.endswith("/")):
        raise InvalidMesh(
            "public_prefix",
            f"{service.name} is published at {prefix!r}; a prefix starts and ends with a slash.",
        )
