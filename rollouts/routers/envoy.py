"""The router ``envoy``: weights by our own control plane, over one small gRPC call.

The control plane reads the weights from the rows itself, so this adapter only says "read again"
and brings back what the proxies have confirmed. It writes nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import grpc
from django.conf import settings

from rollouts.domain.state import Confirmed, Verdict
from rollouts.errors import RouterError, RouterUnreachable
from rollouts.models import Service, Version
from rollouts.routers.base import Caps, Joins

METHOD = "/meshui.control.v1.ControlPlane/Sync"
ANSWER_S = 2.0  # beyond the wait that is asked for

_channels: dict[str, grpc.Channel] = {}
_lock = threading.Lock()


class EnvoyRouter:
    caps = Caps(max_targets=10)

    def apply(self, service: Service, generation: int, *, wait_s: float) -> Confirmed:
        return _sync(service, generation, wait_s)

    def observe(self, service: Service) -> Confirmed:
        return _sync(service, service.generation, 0.0)

    def ensure_targets(self, service: Service, versions: Sequence[Version]) -> Joins:
        """Clusters come with the snapshot."""
        return {}

    def drop_targets(self, service: Service, versions: Sequence[Version]) -> None:
        """Clusters go with the snapshot."""


def _sync(service: Service, generation: int, wait_s: float) -> Confirmed:
    body = {
        "mesh": service.mesh.slug,
        "service": service.name,
        "generation": generation,
        "wait_ms": round(wait_s * 1000),
    }
    answer = json.loads(_call(json.dumps(body).encode(), wait_s + ANSWER_S))
    if "error" in answer:
        raise RouterError(f"The control plane refused: {answer['error']}")
    return verdict(service.name, generation, answer)


def _call(body: bytes, timeout_s: float) -> bytes:
    address = settings.CONTROL_PLANE
    try:
        answer: bytes = _channel(address).unary_unary(METHOD, None, None)(body, timeout=timeout_s)
    except grpc.RpcError as error:
        why = getattr(error, "code", lambda: grpc.StatusCode.UNKNOWN)().name
        raise RouterUnreachable(
            f"The control plane at {address} does not answer ({why}). Weights are unchanged."
        ) from error
    return answer


def _channel(address: str) -> grpc.Channel:
    """One channel per process and address; it reconnects by itself, quickly."""
    with _lock:
        if address not in _channels:
            options = [
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 500),
                ("grpc.enable_http_proxy", 0),
            ]
            _channels[address] = grpc.insecure_channel(address, options=options)
        return _channels[address]


def verdict(service: str, generation: int, answer: dict[str, Any]) -> Confirmed:
    """Read the control plane's answer: is the generation in force at every proxy it knows?"""
    proxies = answer["proxies"]
    if not proxies:
        return Confirmed(generation, Verdict.UNKNOWN, ("No proxy is connected.",))
    lagging = tuple(
        sentence for p in proxies if (sentence := _lag(p, service, generation)) is not None
    )
    return Confirmed(generation, Verdict.NO if lagging else Verdict.YES, lagging)


def _lag(proxy: dict[str, Any], service: str, generation: int) -> str | None:
    """Why this proxy has not confirmed, as a sentence; None when it has."""
    name = proxy["node"]
    if proxy["nack"]:
        return f"{name} refuses the configuration: {proxy['nack']}"
    if not proxy["connected"]:
        since = str(proxy["disconnected_at"])[11:19]
        return f"{name} is not connected since {since} UTC and may serve older weights."
    if proxy["generations"].get(service, -1) < generation or not proxy["synced"]:
        return f"{name} has not acknowledged generation {generation} yet."
    return None
