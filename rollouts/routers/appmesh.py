"""The router ``appmesh``: weights on a route of AWS App Mesh, a virtual node for each version.

For meshes that still have App Mesh, which AWS ended on 2026-09-30. Its API has no compare-and-set:
``remote`` reads before it writes. Never touches a node that meshui did not make.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rollouts import aws, clock
from rollouts.errors import AwsConflict, AwsError, AwsUnreachable, RouterError
from rollouts.models import Service, Version
from rollouts.routers.base import Caps, Joins
from rollouts.routers.remote import (
    TAG_MESH,
    TAG_TARGET,
    Found,
    Place,
    RemoteRouter,
    Wanted,
    ignore_gone,
    ours,
)
from rollouts.routers.shares import Weights

log = logging.getLogger(__name__)

ENDED = datetime(2026, 9, 30, tzinfo=UTC)
NOTICE = (
    "AWS ended App Mesh on 2026-09-30. This router is for meshes that still have it; "
    "make new ones with the router envoy."
)

# Generation and version of each route when this process last saw it. Within a generation nobody of
# ours writes, but for targets that come and go.
_versions: dict[tuple[str, ...], tuple[int, int]] = {}
_lock = threading.Lock()


class AppMeshRouter(RemoteRouter):
    caps = Caps(
        max_targets=10, settle_s=15.0, hold_before_scale_in_s=60.0, provable=False, notice=NOTICE
    )
    kind, holder = "route", "Route"

    def __init__(self) -> None:
        self._nodes: dict[str, str] | None = None  # name → ARN, as listed in this tick

    def read(self, place: Place) -> Found:
        return _found(aws.call(place.account, "appmesh", "describe_route", **_route(place)))

    def write(self, place: Place, found: Found, weights: Weights) -> Found:
        spec = spec_with(found.raw, weights)
        return _found(
            aws.call(place.account, "appmesh", "update_route", spec=spec, **_route(place))
        )

    def noticed(self, place: Place, wanted: Wanted, found: Found) -> None:
        """Log a write of somebody else, even where the weights are the same again."""
        last = _remember(place, wanted, found)
        if last and last[0] == wanted.generation and found.version > last[1]:
            _say_written(place, last[1], found.version)

    def wrote(self, place: Place, wanted: Wanted, before: Found, after: Found) -> None:
        _remember(place, wanted, after)
        if after.version > before.version + 1:
            _say_written(place, before.version, after.version - 1)

    def spare(self, place: Place) -> str:
        return place.outputs.get(f"{place.prefix}BaseNode", "")

    def name(self, place: Place, pk: int) -> str:
        return f"{place.service.slug}--{pk}"

    def ensure_targets(self, service: Service, versions: Sequence[Version]) -> Joins:
        """A virtual node for each version. Tasks find it by their own configuration."""
        if not versions:
            return {}
        with self.at(service) as place:
            self.check_room(place, versions)
            nodes = self._listed(place)
            missing = [v for v in versions if self.name(place, v.pk) not in nodes]
            if missing:
                with self.locked(place, "targets") as (lease, _):
                    for version in missing:
                        lease.check(aws.longest_s())
                        nodes |= _create(place, self.name(place, version.pk))
                # Named at 0 now, so that proxies know the node before it gets requests.
                self.settle(place, name=[version.pk for version in missing])
        return {}

    def drop_targets(self, service: Service, versions: Sequence[Version]) -> None:
        """Take nodes of gone versions out of the route, then delete them."""
        with self.at(service) as place:
            if not place.outputs.get("MeshName"):
                return
            mine = re.compile(rf"{re.escape(service.slug)}--[0-9]+\Z")
            left = [name for name in self._listed(place) if mine.match(name)]
            if not set(left) - self.kept(place, versions):
                return
            self.settle(place)
            with self.locked(place, "targets") as (lease, _):
                # Asked again: a version may have been started meanwhile by another worker.
                for name in sorted(set(left) - self.kept(place, versions)):
                    lease.check(aws.longest_s())
                    self._delete(place, name)

    def explain(self, place: Place, error: AwsError) -> RouterError:
        """After its end every failure of App Mesh says so; where nobody answers, for good."""
        if aws.endpoint() or clock.moment().now < ENDED or error.code == "UnknownService":
            return super().explain(place, error)
        if isinstance(error, AwsUnreachable) and error.code == "Connect":
            return RouterError(
                f"{error} AWS shut App Mesh down on 2026-09-30: move this mesh to another router.",
                permanent=True,
            )
        if error.permanent:
            return RouterError(f"{error} AWS ended App Mesh on 2026-09-30.", permanent=True)
        return super().explain(place, error)

    def _listed(self, place: Place) -> dict[str, str]:
        """The mesh's virtual nodes. One list for ``ensure_targets`` and ``drop_targets``."""
        if self._nodes is None:
            mesh = place.output("MeshName", of_service=False)
            found: list[Any] = aws.pages(
                place.account, "appmesh", "list_virtual_nodes", "virtualNodes", meshName=mesh
            )
            self._nodes = {node["virtualNodeName"]: node["arn"] for node in found}
        return self._nodes

    def _delete(self, place: Place, name: str) -> None:
        arn = self._listed(place)[name]
        told = aws.call(place.account, "appmesh", "list_tags_for_resource", resourceArn=arn)
        if not ours({tag["key"]: tag["value"] for tag in told["tags"]}, place):
            log.info("%s: the node %s is not meshui's and stays", place.service.slug, name)
            return
        mesh = place.output("MeshName", of_service=False)
        try:
            ignore_gone(place, "appmesh", "delete_virtual_node", meshName=mesh,
                        virtualNodeName=name)  # fmt: skip
        except AwsConflict as error:
            log.info("%s: the next tick tries again: %s", place.service.slug, error)
        else:
            del self._listed(place)[name]


def _route(place: Place) -> dict[str, str]:
    return {
        "meshName": place.output("MeshName", of_service=False),
        "virtualRouterName": place.output("Router"),
        "routeName": place.output("Route"),
    }


def _found(answer: Mapping[str, Any]) -> Found:
    route = answer["route"]
    weights: dict[str, int] = {}
    for target in route["spec"][_kind(route["spec"])]["action"]["weightedTargets"]:
        name = target["virtualNode"]
        weights[name] = weights.get(name, 0) + target["weight"]
    return Found(weights, route["spec"], route["metadata"]["version"])


def _kind(spec: Mapping[str, Any]) -> str:
    """grpcRoute, http2Route, httpRoute or tcpRoute."""
    return next(key for key in spec if key.endswith("Route"))


def spec_with(spec: Mapping[str, Any], weights: Weights) -> dict[str, Any]:
    """The same route with other weighted targets: match, retries, time-outs, priority stay."""
    kind = _kind(spec)
    before = spec[kind]["action"]["weightedTargets"]
    ports = {target["port"] for target in before if target.get("port")}
    extra = {"port": ports.pop()} if len(ports) == 1 else {}
    targets = [{"virtualNode": name, "weight": weight, **extra} for name, weight in weights.items()]
    return {**spec, kind: {**spec[kind], "action": {"weightedTargets": targets}}}


def _remember(place: Place, wanted: Wanted, found: Found) -> tuple[int, int] | None:
    """Note the generation and version of the route; return those of the last time."""
    key = (place.account.region, place.account.role_arn, *_route(place).values())
    with _lock:
        last, _versions[key] = _versions.get(key), (wanted.generation, found.version)
    return last


def _say_written(place: Place, before: int, now: int) -> None:
    log.warning(
        "%s: the route went from version %d to %d by another process or somebody else",
        place.service.slug, before, now,
    )  # fmt: skip


def forget() -> None:
    """Drop what this process remembers, between tests."""
    with _lock:
        _versions.clear()


def _create(place: Place, name: str) -> dict[str, str]:
    """Make the virtual node of a version; one that exists already is kept as it is."""
    tags = {TAG_MESH: place.mesh, TAG_TARGET: name}
    try:
        answer = aws.call(
            place.account, "appmesh", "create_virtual_node",
            meshName=place.output("MeshName", of_service=False), virtualNodeName=name,
            spec=node_spec(place, name),
            tags=[{"key": key, "value": value} for key, value in tags.items()],
        )  # fmt: skip
    except AwsConflict as error:
        if "InUse" in error.code:
            raise
        log.info("%s: the node %s is there already", place.service.slug, name)
        return {}
    return {name: answer["virtualNode"]["metadata"]["arn"]}


def node_spec(place: Place, name: str) -> dict[str, Any]:
    """A node whose endpoints are the instances that ECS registers for the version's task set."""
    service = place.service
    protocol = "grpc" if service.protocol == "grpc" else "http"
    port = int(place.output("Port"))
    listener: dict[str, Any] = {"portMapping": {"port": port, "protocol": protocol}}
    if service.health_kind != "none":
        check: dict[str, Any] = {
            "protocol": service.health_kind, "port": port,
            "intervalMillis": 5000, "timeoutMillis": 2000,
            "healthyThreshold": 2, "unhealthyThreshold": 2,
        }  # fmt: skip
        if service.health_kind == "http":
            check["path"] = service.health_path
        listener["healthCheck"] = check
    cloud_map = {
        "namespaceName": place.output("Namespace", of_service=False),
        "serviceName": service.name.partition(".")[0],
        "attributes": [{"key": "ECS_TASK_SET_EXTERNAL_ID", "value": name}],
    }
    return {"listeners": [listener], "serviceDiscovery": {"awsCloudMap": cloud_map}}
