"""AWS as an outsider sees it: weights and targets read and written by bare boto3, and the log."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rollouts.models import Service
from rollouts.routers.shares import shares
from tests.aws.routers import lay
from tests.fakeaws.control import Fake

Client = Callable[[str], Any]
WRITES = {"UpdateRoute", "ModifyRule"}


@dataclass(frozen=True)
class Written:
    """Weights by target name; ``at`` is seconds since the epoch."""

    weights: Mapping[str, int]
    at: float


class Side:
    """Weights by version label; ``spare`` is what the stacks made for no version."""

    read_call: str
    write_call: str
    service_name: str
    own_clock = True  # rows are dated by a clock that the test turns

    def __init__(self, client: Client, fake: Fake, service: Service) -> None:
        self.client, self.fake, self.service = client, fake, service
        self.mesh = service.mesh.slug

    def _label(self, name: str) -> str:
        found = re.search(r"(?:--|-v)([0-9]+)$", name)
        labels = dict(self.service.versions.values_list("pk", "label"))
        return labels[int(found[1])] if found else "spare"

    def name(self, label: str) -> str:
        raise NotImplementedError

    def weights(self) -> dict[str, int]:
        """What the route or rule says, by label."""
        raise NotImplementedError

    def put(self, weights: Mapping[str, int]) -> None:
        """An outsider writes other weights."""
        raise NotImplementedError

    def targets(self) -> set[str]:
        """Labels of the versions that have a node or a group; ``spare`` is one too."""
        raise NotImplementedError

    def calls(self) -> list[str]:
        """Operations of this service, oldest first, without what the outsider asks."""
        found = [c["operation"] for c in self.fake.calls() if c["service"] == self.service_name]
        self.fake.calls_reset()
        return found

    def written(self) -> list[Written]:
        """Every weights that were written and took effect, by target name, oldest first."""
        return [
            Written(self.weights_in(call["request"]), call["at"])
            for call in self.fake.calls()
            if call["operation"] in WRITES
            and (call["outcome"] == "ok" or (call["injected"] and call["took_effect"]))
        ]

    def weights_in(self, request: Mapping[str, Any]) -> dict[str, int]:
        raise NotImplementedError


class AppMeshSide(Side):
    read_call, write_call, service_name = "DescribeRoute", "UpdateRoute", "appmesh"

    def name(self, label: str) -> str:
        return self.service.versions.get(label=label).target

    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.client("appmesh").describe_route(**lay.route(self.mesh))[
            "route"
        ]["spec"]
        return spec

    def weights(self) -> dict[str, int]:
        targets = self.spec()["grpcRoute"]["action"]["weightedTargets"]
        return {self._label(t["virtualNode"]): t["weight"] for t in targets}

    def put(self, weights: Mapping[str, int]) -> None:
        spec = self.spec()
        spec["grpcRoute"]["action"]["weightedTargets"] = [
            {"virtualNode": self.name(label), "weight": weight} for label, weight in weights.items()
        ]
        self.client("appmesh").update_route(**lay.route(self.mesh), spec=spec)

    def targets(self) -> set[str]:
        nodes = self.client("appmesh").list_virtual_nodes(meshName=self.mesh)["virtualNodes"]
        return {self._label(node["virtualNodeName"]) for node in nodes}

    def weights_in(self, request: Mapping[str, Any]) -> dict[str, int]:
        targets = request["spec"]["grpcRoute"]["action"]["weightedTargets"]
        return {t["virtualNode"]: t["weight"] for t in targets}


class AlbSide(Side):
    read_call, write_call, service_name = "DescribeRules", "ModifyRule", "elbv2"

    def name(self, label: str) -> str:
        return f"{self.mesh}-v{self.service.versions.get(label=label).pk}"

    def rule(self) -> dict[str, Any]:
        outputs = self.service.mesh.stacks.get(name="mesh").outputs
        arn = outputs["EchoServerListenerRule"]
        rule: dict[str, Any] = self.client("elbv2").describe_rules(RuleArns=[arn])["Rules"][0]
        return rule

    def weights(self) -> dict[str, int]:
        groups = self.rule()["Actions"][0]["ForwardConfig"]["TargetGroups"]
        return {self._label(g["TargetGroupArn"].split("/")[1]): g["Weight"] for g in groups}

    def put(self, weights: Mapping[str, int]) -> None:
        api = self.client("elbv2")
        names = {self.name(label): weight for label, weight in weights.items()}
        found = api.describe_target_groups(Names=list(names))["TargetGroups"]
        groups = [
            {"TargetGroupArn": g["TargetGroupArn"], "Weight": names[g["TargetGroupName"]]}
            for g in found
        ]
        api.modify_rule(
            RuleArn=self.rule()["RuleArn"],
            Actions=[{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}],
        )

    def targets(self) -> set[str]:
        groups = self.client("elbv2").describe_target_groups()["TargetGroups"]
        return {self._label(group["TargetGroupName"]) for group in groups}

    def weights_in(self, request: Mapping[str, Any]) -> dict[str, int]:
        found: dict[str, dict[str, str]] = {}
        for key, value in request.items():
            if match := re.search(r"TargetGroups\.member\.(\d+)\.(TargetGroupArn|Weight)$", key):
                found.setdefault(match[1], {})[match[2]] = value
        return {g["TargetGroupArn"].split("/")[1]: int(g["Weight"]) for g in found.values()}


SIDES: dict[str, type[Side]] = {"appmesh": AppMeshSide, "alb": AlbSide}


def check_history(side: Side) -> None:
    """Every write that took effect was of some stored weights, in the order of generations.

    A generation may be named by several writes, as targets come and go at weight 0, but nothing is
    written twice, and nothing is written before it was stored or after something newer.
    """
    side.service.refresh_from_db()
    history = side.written()
    for one, other in pairwise(history):
        assert one.weights != other.weights, f"written twice: {one.weights}"
    routes = list(side.service.routes.order_by("generation"))
    names = {v.pk: side.name(v.label) for v in side.service.versions.all()}
    stored = [shares({names[int(pk)]: w for pk, w in route.weights.items()}) for route in routes]
    place = 0
    for write in history:
        if not any(name in names.values() for name, weight in write.weights.items() if weight):
            assert place == 0, "the spare target came back"
            continue
        while place < len(routes) and stored[place] != shares(write.weights):
            place += 1
        assert place < len(routes), f"older or unknown weights were written: {write.weights}"
        assert routes[place].at.timestamp() <= write.at or side.own_clock
    now = {str(pk): weight for pk, weight in side.service.weights.items()}
    assert shares(history[-1].weights) == shares({names[int(pk)]: w for pk, w in now.items()})
