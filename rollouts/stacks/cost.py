"""About what a stack costs a month, before it is made. PURE; called by ``proposing``.

List prices of 2026-11 in us-east-1, US dollars, without tax and without discounts; other regions
are some per cent dearer. Traffic is not in it, for nobody knows it before: NAT and endpoints take
about 0.045 and 0.01 dollars a gigabyte, a load balancer 0.008 an hour per unit of capacity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NOTE = "About: list prices of 2026-11 in us-east-1, a month of 730 hours, without traffic and tax."
HOURS = 730  # of a month
ZONES = 2
NAT = 0.045
ADDRESS = 0.005  # a public IPv4 address
ENDPOINT = 0.01  # in one zone
BALANCER = 0.0225
VCPU, GIGABYTE = 0.04048, 0.004445  # Fargate on x86, an hour
INSTANCE = 0.0104  # t3.micro
DISK = 0.64  # 8 GB of gp3, a month
SECRET = 0.40  # a month
DNS_ZONE = 0.50  # a month
CLIENT = (0.5, 1.0)  # vCPU and GB of a task of echo_client
SERVER = {"appmesh": (0.5, 1.0)}  # of echo_server; others:
SERVER_ALONE = (0.25, 0.5)
INTERFACES = ("EcrApiEndpoint", "EcrDkrEndpoint", "LogsEndpoint", "SecretsEndpoint",
              "AppMeshEndpoint")  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """``monthly`` in dollars, of all ``count`` together."""

    what: str
    count: int
    monthly: float


def monthly(
    kinds: Mapping[str, str], *, router: str, client_tasks: int = 2, server_tasks: int = 2
) -> list[Cost]:
    """Of everything that costs by the hour or month. ``kinds``: kind by logical id."""
    server = SERVER.get(router, SERVER_ALONE)
    made = [
        _hourly("NAT gateway", _count(kinds, "EC2::NatGateway"), NAT),
        _hourly("public IPv4 address", _addresses(kinds), ADDRESS),
        _hourly("endpoint in one zone", sum(n in kinds for n in INTERFACES) * ZONES, ENDPOINT),
        _hourly("load balancer", _count(kinds, "ElasticLoadBalancingV2::LoadBalancer"), BALANCER),
        _hourly("bastion, t3.micro", _count(kinds, "EC2::Instance"), INSTANCE + DISK / HOURS),
        _hourly("task of echo_client", client_tasks * ("ClientService" in kinds), _task(CLIENT)),
        _hourly("task of echo_server, for each version that runs",
                server_tasks * ("EchoServerService" in kinds), _task(server)),
        _hourly("secret", _count(kinds, "SecretsManager::Secret"), SECRET / HOURS),
        _hourly("name space (a private DNS zone)",
                _count(kinds, "ServiceDiscovery::PrivateDnsNamespace"), DNS_ZONE / HOURS),
    ]  # fmt: skip
    return [each for each in made if each.count]


def total(costs: list[Cost]) -> float:
    """Dollars a month, to the cent."""
    return round(sum(each.monthly for each in costs), 2)


def told(costs: list[Cost]) -> dict[str, Any]:
    """As a proposal keeps it: lines, total, currency, and what the numbers are."""
    lines = [{"what": f"{each.count} × {each.what}", "monthly": each.monthly} for each in costs]
    return {"lines": lines, "total": total(costs), "currency": "USD", "note": NOTE}


def _hourly(what: str, count: int, price: float) -> Cost:
    return Cost(what, count, round(count * price * HOURS, 2))


def _task(size: tuple[float, float]) -> float:
    return size[0] * VCPU + size[1] * GIGABYTE


def _count(kinds: Mapping[str, str], kind: str) -> int:
    return sum(each == f"AWS::{kind}" for each in kinds.values())


def _addresses(kinds: Mapping[str, str]) -> int:
    """Of NAT, of a bastion, and one in each zone of a public load balancer."""
    public = "HttpListener" in kinds and "Balancer" in kinds  # the internal one has none
    return _count(kinds, "EC2::EIP") + _count(kinds, "EC2::Instance") + ZONES * public
