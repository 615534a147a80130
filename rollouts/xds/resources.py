"""Builders of the Envoy resources that a mesh needs, one function per resource.

PURE, called by ``snapshot`` only. Each returns the bytes of a ``google.protobuf.Any``, ready to be
sent, because building protobufs once per push instead of once per proxy is what makes a push cheap.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2

# ParseDict needs the descriptor of every type named in an "@type", so these are imported for
# their side effect ("Can not find message descriptor by type_url" otherwise).
from envoy.extensions.clusters.aggregate.v3 import cluster_pb2 as _aggregate
from envoy.extensions.filters.http.grpc_stats.v3 import config_pb2 as _grpc_stats
from envoy.extensions.filters.http.router.v3 import router_pb2 as _router
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as _hcm,
)
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2 as _previous_hosts
from envoy.extensions.retry.priority.previous_priorities.v3 import (
    previous_priorities_config_pb2 as _previous_priorities,
)
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2 as _http_options
from google.protobuf import any_pb2, json_format
from google.protobuf.message import Message

if TYPE_CHECKING:
    from rollouts.xds.snapshot import Address, HealthCheck, Target, VirtualService

Json = dict[str, Any]

ADS: Json = {"ads": {}, "resource_api_version": "V3"}
ATTEMPTS = 3
# What a change of weights leaves as it was is remembered: then only the routes are built again.
REMEMBERED = 4096  # resources of one kind, about a kilobyte each
ROOM: Json = {
    "thresholds": [
        {
            "max_connections": 10000,
            "max_pending_requests": 10000,
            "max_requests": 10000,
            "max_retries": 1000,
        }
    ]
}
SAFE_RETRIES = "connect-failure,refused-stream,reset-before-request"
GRPC_RETRIES = "connect-failure,refused-stream,reset,unavailable,cancelled"
HTTP_RETRIES = "connect-failure,refused-stream,reset,gateway-error"


def _type(module: Any, message: str) -> str:
    return f"type.googleapis.com/{module.DESCRIPTOR.package}.{message}"


def _any(message: Message) -> bytes:
    packed = any_pb2.Any()
    packed.Pack(message, deterministic=True)
    return packed.SerializeToString(deterministic=True)


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}s"


# Clusters and endpoints


@lru_cache(REMEMBERED)
def cluster(target: Target) -> bytes:
    """One version's cluster: endpoints by EDS, health-checked, with room for a burst of retries."""
    parsed: Json = {
        "name": target.name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": ADS},
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        # The default of 3 concurrent retries lost 14,000 requests in a kill test.
        "circuit_breakers": ROOM,
        # Panic mode would send requests to hosts that are known to be ill.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        # Without this a removed host stays for as long as it passes its health check.
        "ignore_health_on_host_removal": True,
        "health_checks": _health_checks(target.health),
    }
    if target.http2:
        parsed["typed_extension_protocol_options"] = _http2()
    return _any(json_format.ParseDict(parsed, cluster_pb2.Cluster()))


def fallback_name(target: str) -> str:
    """The cluster that routes point at for a version that is not stable."""
    return f"{target}+stable"


@lru_cache(REMEMBERED)
def fallback_cluster(target: str, stable: str) -> bytes:
    """The target while it is well, else stable; a retry goes to stable at once.

    Counts under the target's own name, so "what was routed to this version" is read in one place.
    """
    parsed: Json = {
        "name": fallback_name(target),
        "alt_stat_name": target,
        "connect_timeout": "1s",
        "lb_policy": "CLUSTER_PROVIDED",
        # The router asks the cluster that the route names, not the one that is chosen in the end.
        "circuit_breakers": ROOM,
        "cluster_type": {
            "name": "envoy.clusters.aggregate",
            "typed_config": {
                "@type": _type(_aggregate, "ClusterConfig"),
                "clusters": [target, stable],
            },
        },
    }
    return _any(json_format.ParseDict(parsed, cluster_pb2.Cluster()))


def _http2() -> Json:
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {
        "@type": _type(_http_options, "HttpProtocolOptions"),
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {name: options}


def _health_checks(health: HealthCheck) -> list[Json]:
    if health.kind == "none":
        return []
    how: dict[str, Json] = {
        "grpc": {"grpc_health_check": {"service_name": health.service}},
        "http": {"http_health_check": {"path": health.path}},
        "tcp": {"tcp_health_check": {}},
    }
    interval = _seconds(health.interval_s)
    return [
        {
            "timeout": _seconds(health.timeout_s),
            "interval": interval,
            # A version at weight 0 gets no requests, and must be known to be well before it does.
            "no_traffic_interval": interval,
            "unhealthy_threshold": 2,
            "healthy_threshold": 1,
            **how[health.kind],
        }
    ]


@lru_cache(REMEMBERED)
def load_assignment(target: Target) -> bytes:
    """The addresses of one version's tasks; a draining one gets no new requests."""
    hosts = [
        {
            "health_status": "DRAINING" if endpoint.draining else "UNKNOWN",
            "endpoint": {"address": _address(endpoint.host, endpoint.port)},
        }
        for endpoint in target.endpoints
    ]
    # Locality and its weight are for grpc's own xDS client, which silently ignores any without.
    group = {
        "locality": {"region": "local", "zone": "local"},
        "load_balancing_weight": 1,
        "lb_endpoints": hosts,
    }
    parsed = {"cluster_name": target.name, "endpoints": [group] if hosts else []}
    return _any(json_format.ParseDict(parsed, endpoint_pb2.ClusterLoadAssignment()))


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


# Listeners


@lru_cache(REMEMBERED)
def public_listener(name: str, address: Address) -> bytes:
    """The way in from outside, the "ALB": nothing that a caller claims is trusted."""
    edge = {
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "max_request_headers_kb": 60,
        "request_headers_timeout": "10s",
        "common_http_protocol_options": {
            "max_headers_count": 100,
            "idle_timeout": "300s",
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
    }
    return _listener(name, address, edge, filters=[])


@lru_cache(REMEMBERED)
def egress_listener(name: str, address: Address) -> bytes:
    """The way from one service to another, by authority. Counts gRPC statuses per cluster,
    because to the plain counters a failed gRPC call is a 200."""
    grpc_stats = {
        "name": "envoy.filters.http.grpc_stats",
        "typed_config": {
            "@type": _type(_grpc_stats, "FilterConfig"),
            "stats_for_all_methods": True,
            "enable_upstream_stats": True,
        },
    }
    return _listener(name, address, {}, filters=[grpc_stats])


def _listener(name: str, address: Address, options: Json, filters: list[Json]) -> bytes:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": _type(_router, "Router")},
    }
    manager = {
        "@type": _type(_hcm, "HttpConnectionManager"),
        "stat_prefix": name,
        "codec_type": "AUTO",
        "rds": {"route_config_name": name, "config_source": ADS},
        "http_filters": [*filters, router],
        **options,
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    parsed = {
        "name": name,
        "address": _address(address.host, address.port),
        "filter_chains": [chain],
        # An orphaned Envoy must be an error, not a silent second owner of the port.
        "enable_reuse_port": False,
    }
    return _any(json_format.ParseDict(parsed, listener_pb2.Listener()))


@lru_cache(REMEMBERED)
def rebound(listener: bytes, loopback: str) -> bytes:
    """The listener on another loopback address; unchanged when it listens on none."""
    message = listener_pb2.Listener()
    any_pb2.Any.FromString(listener).Unpack(message)
    address = message.address.socket_address
    if not ipaddress.ip_address(address.address).is_loopback:
        return listener
    address.address = loopback
    return _any(message)


# Routes


def egress_routes(name: str, services: Sequence[VirtualService]) -> bytes:
    """One virtual host per service, found by the authority that the caller used."""
    hosts = [
        {
            "name": service.name,
            "domains": [service.name, f"{service.name}:*"],
            "routes": [_route("/", service)],
        }
        for service in services
    ]
    return _route_configuration(name, hosts, services)


def public_routes(name: str, services: Sequence[VirtualService]) -> bytes:
    """One virtual host for every name, split by path; the longest prefix is asked first."""
    public = [service for service in services if service.public_prefix is not None]
    public.sort(key=lambda service: len(service.public_prefix or ""), reverse=True)
    routes = [_route(service.public_prefix or "/", service) for service in public]
    if not any(service.public_prefix == "/" for service in public):
        routes.append(_answer("/", 404, "No service of this mesh is published at this path.\n"))
    return _route_configuration(name, [{"name": name, "domains": ["*"], "routes": routes}], public)


def _route_configuration(name: str, hosts: list[Json], services: Sequence[VirtualService]) -> bytes:
    # Without validate_clusters a route to an unknown cluster is ACKed and then answers 503.
    parsed = {"name": name, "virtual_hosts": hosts, "validate_clusters": True}
    return _any(json_format.ParseDict(parsed, route_pb2.RouteConfiguration()))


def _answer(prefix: str, status: int, sentence: str) -> Json:
    return {
        "match": {"prefix": prefix},
        "direct_response": {"status": status, "body": {"inline_string": sentence}},
    }


def _route(prefix: str, service: VirtualService) -> Json:
    receiving = {name: weight for name, weight in service.weights.items() if weight > 0}
    if not receiving:
        return _answer(prefix, 503, f"{service.name} has no version yet.\n")
    action: Json = {
        "weighted_clusters": {
            "clusters": [
                {"name": routed_to(service, name), "weight": receiving[name]}
                for name in sorted(receiving)
            ]
        },
        "timeout": _seconds(service.timeout_s),
        "retry_policy": _retry_policy(service),
    }
    if service.protocol == "grpc" and service.max_stream_s is not None:
        action["max_stream_duration"] = {"max_stream_duration": _seconds(service.max_stream_s)}
    return {"match": {"prefix": prefix}, "route": action}


def routed_to(service: VirtualService, target: str) -> str:
    """The cluster that routes name for this target; stable has nothing to fall back to."""
    if service.stable is None or service.stable == target:
        return target
    return fallback_name(target)


def _retry_policy(service: VirtualService) -> Json:
    policy: Json = {
        "retry_on": SAFE_RETRIES,
        "num_retries": ATTEMPTS - 1,
        "host_selection_retry_max_attempts": 3,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": _type(_previous_hosts, "PreviousHostsPredicate")},
            }
        ],
        # In a fallback cluster the first priority is the new version, the second is stable.
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": _type(_previous_priorities, "PreviousPrioritiesConfig"),
                "update_frequency": 1,
            },
        },
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.050s"},
    }
    if service.idempotent:
        policy["retry_on"] = GRPC_RETRIES if service.protocol == "grpc" else HTTP_RETRIES
        # A paused task gives no error: only a time-out per attempt notices it, and it must leave
        # time for the other attempts before the caller's own patience ends.
        policy["per_try_timeout"] = _seconds(service.timeout_s / ATTEMPTS)
    return policy
