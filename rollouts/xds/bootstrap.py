"""The first configuration of an Envoy: who it is and whom to ask for everything else.

PURE: text out. Called by ``launch``. ``sidecar`` builds that of a proxy elsewhere of the same
parts.
"""

import json
from typing import Any

from rollouts.xds.snapshot import Address

Json = dict[str, Any]


def bootstrap(
    node_id: str,
    mesh: str,
    control_plane: Address,
    admin: Address,
    concurrency: int,
    *,
    fallback_socket: str | None = None,
) -> str:
    """JSON text for ``envoy -c``. ``concurrency`` must also be given as ``--concurrency``; here it
    only sizes the connection limit. ``fallback_socket`` is the path of a unix socket that answers
    while the control plane does not (see docs/adr/0002-cold-start.md).
    """
    ads = {"ads": {}, "resource_api_version": "V3"}
    return json.dumps(
        {
            "node": {"id": node_id, "cluster": mesh},
            "admin": {"address": socket_address(admin)},
            "stats_flush_interval": "1s",
            "dynamic_resources": {
                "ads_config": ads_config(),
                "cds_config": ads,
                "lds_config": ads,
            },
            "static_resources": {"clusters": [_xds_cluster(control_plane, fallback_socket)]},
            "overload_manager": connection_limit(concurrency),
        },
        indent=1,
    )


def ads_config() -> Json:
    """Where configuration comes from: the cluster ``xds``, state of the world."""
    # The default back-off grows to 30 seconds: so long would a restart of the control plane leave
    # the proxy on old weights.
    back_off = {"base_interval": "0.2s", "max_interval": "1s"}
    return {
        # GRPC, not DELTA_GRPC: the server speaks state-of-the-world only.
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [
            {"envoy_grpc": {"cluster_name": "xds", "retry_policy": {"retry_back_off": back_off}}}
        ],
    }


def _xds_cluster(control_plane: Address, fallback_socket: str | None) -> Json:
    cluster: Json = {
        "name": "xds",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": http2(interval="5s", timeout="5s"),
        "load_assignment": {
            "cluster_name": "xds",
            "endpoints": [_endpoints(socket_address(control_plane), priority=0)],
        },
    }
    if fallback_socket is not None:
        cluster["load_assignment"]["endpoints"].append(
            _endpoints({"pipe": {"path": fallback_socket}}, priority=1)
        )
        # Only a health check tells Envoy that the first priority is away.
        cluster["health_checks"] = [
            {
                "timeout": "0.5s",
                "interval": "0.5s",
                "no_traffic_interval": "0.5s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                "grpc_health_check": {},
            }
        ]
    return cluster


def http2(*, interval: str, timeout: str) -> Json:
    """HTTP/2 only, with pings: another end that is gone without a word is noticed."""
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {"connection_keepalive": {"interval": interval, "timeout": timeout}}
    typed = {
        "@type": f"type.googleapis.com/{name}",
        "explicit_http_config": {"http2_protocol_options": options},
    }
    return {name: typed}


def _endpoints(address: Json, priority: int) -> Json:
    return {"priority": priority, "lb_endpoints": [{"endpoint": {"address": address}}]}


def socket_address(address: Address) -> Json:
    """An address as Envoy writes it."""
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def connection_limit(concurrency: int) -> Json:
    """The overload manager: more connections than this are refused, not served badly."""
    name = "envoy.resource_monitors.global_downstream_max_connections"
    config = {
        "@type": "type.googleapis.com/envoy.extensions.resource_monitors."
        "downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": 20_000 * max(concurrency, 1),
    }
    return {"resource_monitors": [{"name": name, "typed_config": config}]}
