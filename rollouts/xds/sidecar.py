"""The Envoy beside a task: its first configuration, and its container in the task definition.

PURE: text and dicts out. Called by whoever writes the secret of a mesh on AWS, and by tests that
start the container as ECS would. ``templates/cloudformation/app.yaml`` says the same in YAML, and a
test compares the two.
"""

import ipaddress
import json
from typing import Any

from rollouts.errors import InvalidInput
from rollouts.pki import NAME
from rollouts.xds.bootstrap import Json, ads_config, connection_limit, http2, socket_address
from rollouts.xds.snapshot import Address

ADMIN = Address("127.0.0.1", 9901)
# A shell, because only it hands the bootstrap over; so no distroless image.
START = (
    'exec envoy --config-yaml "$ENVOY_BOOTSTRAP" --service-node "$HOSTNAME"'
    " --drain-time-s 20 --disable-hot-restart"
)
HEALTH = "bash -c 'exec 3<>/dev/tcp/127.0.0.1/9901' || exit 1"
# Environment variables of the container, by key of the secret.
SECRETS = {
    "ENVOY_BOOTSTRAP": "bootstrap",
    "MESHUI_XDS_CERT": "cert",
    "MESHUI_XDS_KEY": "key",
    "MESHUI_XDS_CA": "ca",
}


def control_plane_address(text: str) -> Address:
    """Read the mesh's setting ``host:port``. Raises InvalidInput."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]").lower()
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise InvalidInput("control_plane", f"{text!r} is not host:port.")
    if not _is_ip(host) and not NAME.fullmatch(host):
        raise InvalidInput("control_plane", f"{host!r} is neither a host name nor an IP address.")
    return Address(host, int(port))


def sidecar_bootstrap(mesh: str, service: str, control_plane: Address) -> str:
    """JSON text for ``envoy --config-yaml``; the node's id comes by ``--service-node``.

    ``mesh`` and ``service`` are those that the certificate names (``rollouts/pki.py``), which
    comes with its key and the authority by environment variables: no file holds them.
    """
    ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "15s"}
    return json.dumps(
        {
            "node": {
                "cluster": mesh,
                # The address is here so that whoever runs many tasks on one machine can change it
                # like every other 127.0.0.1 of a task.
                "metadata": {"service": service, "loopback": ADMIN.host},
            },
            "admin": {"address": socket_address(ADMIN)},
            "stats_flush_interval": "1s",
            "dynamic_resources": {
                "ads_config": ads_config(),
                "cds_config": ads,
                "lds_config": ads,
            },
            "static_resources": {"clusters": [_control_plane(control_plane)]},
            "overload_manager": connection_limit(1),
        },
        separators=(",", ":"),
    )


def _control_plane(address: Address) -> Json:
    is_ip = _is_ip(address.host)
    endpoint = {"endpoint": {"address": socket_address(address)}}
    return {
        "name": "xds",
        "type": "STATIC" if is_ip else "STRICT_DNS",
        # "localhost" and many a private zone resolve to an IPv6 address that nobody listens on.
        **({} if is_ip else {"dns_lookup_family": "V4_ONLY"}),
        "connect_timeout": "3s",
        # Through a network load balancer: it forgets a quiet connection without a word.
        "typed_extension_protocol_options": http2(interval="15s", timeout="5s"),
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": _tls(address)},
        "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _tls(address: Address) -> Json:
    is_ip = _is_ip(address.host)
    context: Json = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            # Without a maximum Envoy's clients end at 1.2.
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "tls_certificates": [
                {
                    "certificate_chain": {"environment_variable": "MESHUI_XDS_CERT"},
                    "private_key": {"environment_variable": "MESHUI_XDS_KEY"},
                }
            ],
            "validation_context": {
                "trusted_ca": {"environment_variable": "MESHUI_XDS_CA"},
                "match_typed_subject_alt_names": [
                    {
                        "san_type": "IP_ADDRESS" if is_ip else "DNS",
                        "matcher": {"exact": address.host},
                    }
                ],
            },
        },
    }
    return context if is_ip else {**context, "sni": address.host}


def sidecar_container(image: str, secret: str, logs: dict[str, str]) -> dict[str, Any]:
    """The container ``envoy`` of a task definition, as boto3 takes it.

    ``image`` by digest; ``secret`` the ARN of a secret with the keys bootstrap, cert, key and ca;
    ``logs`` the options of the log driver ``awslogs``. The container beside it waits with
    ``dependsOn`` until this one is HEALTHY.
    """
    return {
        "name": "envoy",
        "image": image,
        "essential": True,
        "memory": 384,
        "user": "1337",
        "readonlyRootFilesystem": True,
        "entryPoint": ["sh", "-c", START],
        "secrets": [
            {"name": variable, "valueFrom": f"{secret}:{key}::"}
            for variable, key in SECRETS.items()
        ],
        "healthCheck": {
            "command": ["CMD-SHELL", HEALTH],
            "interval": 5,
            "timeout": 2,
            "retries": 3,
            "startPeriod": 10,
        },
        "stopTimeout": 60,
        "logConfiguration": {"logDriver": "awslogs", "options": logs},
    }


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
