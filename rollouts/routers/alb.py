"""The router ``alb``: weighted target groups on a listener rule of a load balancer.

One target group for each version, made and removed here. A group must be named by the rule, also
at weight 0, before tasks join it: of a group that no load balancer uses AWS checks no health.
``remote`` reads before it writes. Never touches a group that meshui did not make.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rollouts import aws
from rollouts.errors import AwsConflict, AwsGone
from rollouts.locks import Held
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

CONTAINER = "app"
# Requests have left a group long before its tasks stop (caps.hold_before_scale_in_s).
DEREGISTRATION_S = 30
Group = Mapping[str, Any]  # as describe_target_groups gives it


class AlbRouter(RemoteRouter):
    caps = Caps(max_targets=5, settle_s=15.0, hold_before_scale_in_s=120.0, provable=False)
    kind, holder = "listener rule", "ListenerRule"

    def __init__(self) -> None:
        self._groups: dict[str, Group] | None = None  # by name, as listed in this tick

    def read(self, place: Place) -> Found:
        arn = place.output("ListenerRule")
        answer = aws.call(place.account, "elbv2", "describe_rules", RuleArns=[arn])
        return _found(answer, arn)

    def write(self, place: Place, found: Found, weights: Weights) -> Found:
        arns = self._arns(place, found, weights)
        arn = place.output("ListenerRule")
        actions = actions_with(found.raw["Actions"], {arns[n]: w for n, w in weights.items()})
        answer = aws.call(place.account, "elbv2", "modify_rule", RuleArn=arn, Actions=actions)
        return _found(answer, arn)

    def spare(self, place: Place) -> str:
        return _name(place.output("SpareTargetGroup"))

    def name(self, place: Place, pk: int) -> str:
        return f"{place.mesh}-v{pk}"

    def noticed(self, place: Place, wanted: Wanted, found: Found) -> None:
        """A rule does not count its writes: a stranger's show only while the weights differ."""

    def wrote(self, place: Place, wanted: Wanted, before: Found, after: Found) -> None:
        """As above."""

    def ensure_targets(self, service: Service, versions: Sequence[Version]) -> Joins:
        """A target group for each version, named by the rule before any task joins it."""
        if not versions:
            return {}
        with self.at(service) as place:
            self.check_room(place, versions)
            groups = self._listed(place)
            names = {version.pk: self.name(place, version.pk) for version in versions}
            # Of one without a load balancer nobody knows how far its making came: all again.
            new = [v for v in versions if not groups.get(names[v.pk], {}).get("LoadBalancerArns")]
            if new:
                with self.locked(place, "targets") as (lease, _):
                    for version in new:
                        name = names[version.pk]
                        groups[name] = groups.get(name) or _create(place, version, name, lease)
                        _set_delay(place, groups[name], lease)
                self.settle(place, name=[version.pk for version in new])
            port = place.output("Port")
            return {
                pk: {
                    "target_group": groups[name]["TargetGroupArn"],
                    "container": CONTAINER,
                    "port": port,
                }
                for pk, name in names.items()
            }

    def drop_targets(self, service: Service, versions: Sequence[Version]) -> None:
        """Take groups of gone versions out of the rule, then delete them."""
        with self.at(service) as place:
            if not place.outputs.get(place.prefix + self.holder):
                return
            left = self._left(place)
            if not left - self.kept(place, versions):
                return
            self.settle(place)
            with self.locked(place, "targets") as (lease, _):
                # Asked again: a version may have been started meanwhile by another worker.
                for name in sorted(left - self.kept(place, versions)):
                    lease.check(aws.longest_s())
                    self._delete(place, name)

    def _listed(self, place: Place) -> dict[str, Group]:
        """Target groups that may be this mesh's, for ``ensure_targets`` and ``drop_targets``."""
        if self._groups is None:
            every: list[Any] = aws.pages(
                place.account, "elbv2", "describe_target_groups", "TargetGroups", PageSize=400
            )
            mine = re.compile(rf"{re.escape(place.mesh)}-v[0-9]+\Z")
            self._groups = {
                group["TargetGroupName"]: group
                for group in every
                if mine.match(group["TargetGroupName"])
            }
        return self._groups

    def _left(self, place: Place) -> set[str]:
        """Names of the groups of this service's versions; other services have other versions."""
        pks = place.service.versions.values_list("pk", flat=True)
        return {self.name(place, pk) for pk in pks} & set(self._listed(place))

    def _arns(self, place: Place, found: Found, weights: Weights) -> dict[str, str]:
        """ARNs by name: the rule names most of them, the rest are asked for."""
        known = {_name(arn): arn for arn in found.raw["arns"]}
        known |= {n: g["TargetGroupArn"] for n, g in (self._groups or {}).items()}
        spare = place.output("SpareTargetGroup")
        known[_name(spare)] = spare
        if unknown := [name for name in weights if name not in known]:
            answer = aws.call(
                place.account, "elbv2", "describe_target_groups", Names=unknown
            )  # fmt: skip
            known |= {g["TargetGroupName"]: g["TargetGroupArn"] for g in answer["TargetGroups"]}
        return known

    def _delete(self, place: Place, name: str) -> None:
        arn = self._listed(place)[name]["TargetGroupArn"]
        try:
            told = aws.call(place.account, "elbv2", "describe_tags", ResourceArns=[arn])
            tags = {t["Key"]: t["Value"] for each in told["TagDescriptions"] for t in each["Tags"]}
            if not ours(tags, place):
                log.info("%s: the group %s is not meshui's and stays", place.service.slug, name)
                return
            ignore_gone(place, "elbv2", "delete_target_group", TargetGroupArn=arn)
        except AwsConflict as error:
            log.info("%s: the next tick tries again: %s", place.service.slug, error)
            return
        except AwsGone:
            log.info("%s: the group %s is gone already", place.service.slug, name)
        del self._listed(place)[name]


def _name(arn: str) -> str:
    """arn:…:targetgroup/NAME/id → NAME."""
    return arn.split("/")[1] if "/" in arn else arn


def _found(answer: Mapping[str, Any], rule_arn: str) -> Found:
    rule = next(rule for rule in answer["Rules"] if rule["RuleArn"] == rule_arn)
    groups = _forward(rule["Actions"])
    weights: dict[str, int] = {}
    for group in groups:
        name = _name(group["TargetGroupArn"])
        weights[name] = weights.get(name, 0) + int(group.get("Weight", 1))
    arns = [group["TargetGroupArn"] for group in groups]
    return Found(weights, {"Actions": rule["Actions"], "arns": arns})


def _forward(actions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The target groups of the rule's forward action, however they are written."""
    for action in actions:
        if action["Type"] == "forward":
            given = action.get("ForwardConfig", {}).get("TargetGroups", [])
            return given or [{"TargetGroupArn": action["TargetGroupArn"], "Weight": 1}]
    return []


def actions_with(
    actions: Sequence[Mapping[str, Any]], weights: Mapping[str, int]
) -> list[dict[str, Any]]:
    """The same actions with other weights, by ARN: sign-in before it and stickiness stay."""
    groups = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights.items()]
    kept = [dict(action) for action in actions if action["Type"] != "forward"]
    before: Mapping[str, Any] = next((a for a in actions if a["Type"] == "forward"), {})
    forward: dict[str, Any] = {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}
    if "Order" in before:
        forward["Order"] = before["Order"]
    sticky = before.get("ForwardConfig", {}).get("TargetGroupStickinessConfig")
    if sticky:
        forward["ForwardConfig"]["TargetGroupStickinessConfig"] = sticky
    return [*kept, forward]


def _create(place: Place, version: Version, name: str, lease: Held) -> Group:
    lease.check(aws.longest_s())
    tags = {TAG_MESH: place.mesh, TAG_TARGET: version.target}
    try:
        answer = aws.call(
            place.account, "elbv2", "create_target_group",
            Name=name, VpcId=place.output("VpcId", of_service=False), TargetType="ip",
            Protocol="HTTP", Port=int(place.output("Port")), **health_check(place.service),
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        )  # fmt: skip
    except AwsConflict:  # made since the groups were listed
        answer = aws.call(place.account, "elbv2", "describe_target_groups", Names=[name])
    made: Group = answer["TargetGroups"][0]
    return made


def _set_delay(place: Place, group: Group, lease: Held) -> None:
    lease.check(aws.longest_s())
    delay = {"Key": "deregistration_delay.timeout_seconds", "Value": str(DEREGISTRATION_S)}
    aws.call(
        place.account, "elbv2", "modify_target_group_attributes",
        TargetGroupArn=group["TargetGroupArn"], Attributes=[delay],
    )  # fmt: skip


def health_check(service: Service) -> dict[str, Any]:
    """How the load balancer asks tasks: gRPC's own health, a page, or whether anybody answers."""
    every = {
        "HealthCheckIntervalSeconds": 10, "HealthCheckTimeoutSeconds": 5,
        "HealthyThresholdCount": 2, "UnhealthyThresholdCount": 2,
    }  # fmt: skip
    if service.protocol == "grpc":
        path, code = "/grpc.health.v1.Health/Check", "0"
        if service.health_kind != "grpc":
            path, code = "/AWS.ALB/healthcheck", "12"  # "no such method": somebody is there
        return {
            **every, "ProtocolVersion": "GRPC",
            "HealthCheckPath": path, "Matcher": {"GrpcCode": code},
        }  # fmt: skip
    asked = service.health_kind == "http"
    return {
        **every, "ProtocolVersion": "HTTP1",
        "HealthCheckPath": service.health_path if asked else "/",
        "Matcher": {"HttpCode": "200" if asked else "200-499"},
    }  # fmt: skip
