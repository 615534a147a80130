"""The mesh that the tests of ``rollouts.xds`` share: one gRPC service with two versions."""

from dataclasses import replace

from rollouts.xds.snapshot import Address, Endpoint, HealthCheck, Mesh, Target, VirtualService

NAME = "echo.local"
OLD, NEW = "echo_v0_9", "echo_v1_0"
GRPC = HealthCheck("grpc", interval_s=0.5, timeout_s=0.5)


def target(name: str, *ports: int, health: HealthCheck = GRPC, http2: bool = True) -> Target:
    endpoints = tuple(Endpoint("127.0.0.1", port) for port in ports)
    return Target(name, endpoints, http2=http2, health=health)


def service(*targets: Target, weights: dict[str, int], generation: int = 1) -> VirtualService:
    return VirtualService(
        name=NAME,
        protocol="grpc",
        targets=targets,
        weights=weights,
        generation=generation,
        stable=OLD if OLD in weights else None,
        idempotent=True,
        public_prefix=None,
        timeout_s=3.0,
    )


def mesh(*services: VirtualService, egress: int = 10001, public: int | None = None) -> Mesh:
    return Mesh(
        name="shop",
        public=Address("127.0.0.1", public) if public else None,
        egress=Address("127.0.0.1", egress),
        services=services,
    )


def shifted(of: Mesh, old: int, new: int, generation: int) -> Mesh:
    """The mesh with other weights."""
    (first, *rest) = of.services
    moved = replace(first, weights={OLD: old, NEW: new}, generation=generation)
    return replace(of, services=(moved, *rest))
