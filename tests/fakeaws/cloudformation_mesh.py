"""Kinds of resource that move requests: App Mesh, Cloud Map, load balancers.

Called through the list in cloudformation_registry. Knows no stack.
"""

from __future__ import annotations

from typing import Any

from tests.fakeaws.cloudformation_client import Calls, Refused, is_missing
from tests.fakeaws.cloudformation_kinds import Kind, Made, Place, Props, looked, only, without


class _InMesh(Kind):
    """One of App Mesh's kinds: same calls, other names."""

    word = ""
    names: tuple[str, ...] = ()  # of the mesh, the router …, the own name last
    key = ""

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        asked = {self.names[-1]: place.name(), **without(props, "Tags")}
        tags = place.lower_tags(props.get("Tags"))
        if self.word == "mesh":
            asked.setdefault("Spec", {})
        found = call("appmesh", f"create_{self.word}", **asked, Tags=tags or None)[self.key]
        return self._made(found, asked)

    def _made(self, found: dict[str, Any], asked: Props) -> Made:
        metadata = found["metadata"]
        attributes = {name: asked[name] for name in self.names}
        attributes |= {"Arn": metadata["arn"], "Uid": metadata["uid"]}
        attributes |= {"MeshOwner": metadata["meshOwner"]}
        attributes |= {"ResourceOwner": metadata["resourceOwner"]}
        return Made(metadata["arn"], attributes)

    def _where(self, made: Made) -> Props:
        return {name: made.attributes[name] for name in self.names}

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        if old.get("Spec") != new.get("Spec"):
            call("appmesh", f"update_{self.word}", **self._where(made), Spec=new.get("Spec", {}))
        return made

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        call.gone("appmesh", f"delete_{self.word}", **self._where(made))

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        found = looked(call, "appmesh", f"describe_{self.word}", **self._where(made))
        return None if found is None else {"Spec": found[self.key]["spec"]}


class Mesh(_InMesh):
    type = "AWS::AppMesh::Mesh"
    word, key, names = "mesh", "mesh", ("MeshName",)


class VirtualNode(_InMesh):
    type = "AWS::AppMesh::VirtualNode"
    word, key, names = "virtual_node", "virtualNode", ("MeshName", "VirtualNodeName")


class VirtualRouter(_InMesh):
    type = "AWS::AppMesh::VirtualRouter"
    word, key, names = "virtual_router", "virtualRouter", ("MeshName", "VirtualRouterName")


class Route(_InMesh):
    type = "AWS::AppMesh::Route"
    word, key, names = "route", "route", ("MeshName", "VirtualRouterName", "RouteName")


class VirtualService(_InMesh):
    type = "AWS::AppMesh::VirtualService"
    word, key, names = "virtual_service", "virtualService", ("MeshName", "VirtualServiceName")


def _result(call: Calls, operation: str) -> dict[str, str]:
    """What a Cloud Map operation was about, by kind. Raises Refused if it failed."""
    seen = call("servicediscovery", "get_operation", OperationId=operation)["Operation"]
    if seen["Status"] == "FAIL":
        raise Refused(seen.get("ErrorMessage", "The operation failed"))
    targets: dict[str, str] = seen["Targets"]
    return targets


class _Namespace(Kind):
    make = ""

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        found = call(
            "servicediscovery",
            self.make,
            **without(props, "Tags"),
            Tags=place.tagged(props.get("Tags")),
        )
        namespace = _result(call, found["OperationId"])["NAMESPACE"]
        seen = call("servicediscovery", "get_namespace", Id=namespace)["Namespace"]
        zone = seen.get("Properties", {}).get("DnsProperties", {}).get("HostedZoneId", "")
        return Made(namespace, {"Id": namespace, "Arn": seen["Arn"], "HostedZoneId": zone})

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        try:
            found = call("servicediscovery", "delete_namespace", Id=made.physical)
        except Refused as refused:
            if is_missing(refused):
                return
            raise
        _result(call, found["OperationId"])

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        found = looked(call, "servicediscovery", "get_namespace", Id=made.physical)
        return None if found is None else only(found["Namespace"], "Description")


class PrivateNamespace(_Namespace):
    type = "AWS::ServiceDiscovery::PrivateDnsNamespace"
    make = "create_private_dns_namespace"

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        wish = {"Description": new.get("Description", "")}
        call("servicediscovery", "update_private_dns_namespace", Id=made.physical, Namespace=wish)
        return made


class HttpNamespace(_Namespace):
    type = "AWS::ServiceDiscovery::HttpNamespace"
    make = "create_http_namespace"


class Registry(Kind):
    type = "AWS::ServiceDiscovery::Service"

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        asked = without(props, "Tags")
        asked.setdefault("Name", place.name(64))
        found = call(
            "servicediscovery", "create_service", **asked, Tags=place.tagged(props.get("Tags"))
        )["Service"]
        return Made(found["Id"], {"Id": found["Id"], "Arn": found["Arn"], "Name": found["Name"]})

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        wish = only(new, "Description", "HealthCheckConfig")
        if "DnsConfig" in new:
            wish["DnsConfig"] = only(new["DnsConfig"], "DnsRecords")
        call("servicediscovery", "update_service", Id=made.physical, Service=wish)
        return made

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        held = looked(call, "servicediscovery", "list_instances", ServiceId=made.physical)
        if held and held["Instances"]:
            raise Refused(
                "Service contains registered instances; delete the instances before "
                "deleting the service"
            )
        call.gone("servicediscovery", "delete_service", Id=made.physical)

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        found = looked(call, "servicediscovery", "get_service", Id=made.physical)
        return None if found is None else only(found["Service"], "Description")


def _pairs(attributes: list[dict[str, Any]] | None) -> list[dict[str, str]]:
    return [{"Key": one["Key"], "Value": str(one["Value"])} for one in attributes or []]


class LoadBalancer(Kind):
    type = "AWS::ElasticLoadBalancingV2::LoadBalancer"

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        asked = without(props, "Tags", "LoadBalancerAttributes")
        asked.setdefault("Name", place.name(32))
        found = call(
            "elbv2", "create_load_balancer", **asked, Tags=place.tagged(props.get("Tags")) or None
        )["LoadBalancers"][0]
        arn = found["LoadBalancerArn"]
        return Made(
            arn,
            {
                "LoadBalancerArn": arn,
                "DNSName": found["DNSName"],
                "CanonicalHostedZoneID": found.get("CanonicalHostedZoneId", ""),
                "LoadBalancerName": found["LoadBalancerName"],
                "LoadBalancerFullName": arn.split("loadbalancer/", 1)[1],
            },
        )

    def complete(self, call: Calls, place: Place, made: Made, props: Props) -> None:
        self._set(call, made.physical, props)

    def _set(self, call: Calls, arn: str, props: Props) -> None:
        pairs = _pairs(props.get("LoadBalancerAttributes"))
        if pairs:
            call("elbv2", "modify_load_balancer_attributes", LoadBalancerArn=arn, Attributes=pairs)

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        arn = {"LoadBalancerArn": made.physical}
        self._set(call, made.physical, new)
        if old.get("SecurityGroups") != new.get("SecurityGroups"):
            groups = new.get("SecurityGroups", [])
            call("elbv2", "set_security_groups", **arn, SecurityGroups=groups)
        if old.get("Subnets") != new.get("Subnets"):
            call("elbv2", "set_subnets", **arn, Subnets=new.get("Subnets"))
        return made

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        call.gone("elbv2", "delete_load_balancer", LoadBalancerArn=made.physical)

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        arns = [made.physical]
        found = looked(call, "elbv2", "describe_load_balancers", LoadBalancerArns=arns)
        return (
            {"SecurityGroups": found["LoadBalancers"][0].get("SecurityGroups", [])}
            if found
            else None
        )


class Listener(Kind):
    type = "AWS::ElasticLoadBalancingV2::Listener"

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        asked = without(props, "ListenerAttributes")
        found = call("elbv2", "create_listener", **asked)["Listeners"][0]
        return Made(found["ListenerArn"], {"ListenerArn": found["ListenerArn"]})

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        asked = without(new, "ListenerAttributes", "LoadBalancerArn")
        call("elbv2", "modify_listener", ListenerArn=made.physical, **asked)
        return made

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        call.gone("elbv2", "delete_listener", ListenerArn=made.physical)

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        found = looked(call, "elbv2", "describe_listeners", ListenerArns=[made.physical])
        if found is None or not found["Listeners"]:
            return None
        return only(found["Listeners"][0], "Port", "Protocol", "SslPolicy", "DefaultActions")


class ListenerRule(Kind):
    type = "AWS::ElasticLoadBalancingV2::ListenerRule"

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        found = call("elbv2", "create_rule", **props)["Rules"][0]
        return Made(found["RuleArn"], {"RuleArn": found["RuleArn"], "IsDefault": False})

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        wish = only(new, "Conditions", "Actions")
        call("elbv2", "modify_rule", RuleArn=made.physical, **wish)
        if old.get("Priority") != new.get("Priority"):
            order = [{"RuleArn": made.physical, "Priority": new["Priority"]}]
            call("elbv2", "set_rule_priorities", RulePriorities=order)
        return made

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        call.gone("elbv2", "delete_rule", RuleArn=made.physical)

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        found = looked(call, "elbv2", "describe_rules", RuleArns=[made.physical])
        if found is None or not found["Rules"]:
            return None
        return only(found["Rules"][0], "Actions", "Conditions")


class TargetGroup(Kind):
    type = "AWS::ElasticLoadBalancingV2::TargetGroup"
    modifiable = (
        "HealthCheckProtocol",
        "HealthCheckPort",
        "HealthCheckPath",
        "HealthCheckEnabled",
        "HealthCheckIntervalSeconds",
        "HealthCheckTimeoutSeconds",
        "HealthyThresholdCount",
        "UnhealthyThresholdCount",
        "Matcher",
    )

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        asked = without(props, "Tags", "TargetGroupAttributes", "Targets")
        asked.setdefault("Name", place.name(32))
        found = call(
            "elbv2", "create_target_group", **asked, Tags=place.tagged(props.get("Tags")) or None
        )["TargetGroups"][0]
        arn = found["TargetGroupArn"]
        return Made(
            arn,
            {
                "TargetGroupArn": arn,
                "TargetGroupName": found["TargetGroupName"],
                "TargetGroupFullName": "targetgroup/" + arn.split("targetgroup/", 1)[1],
            },
        )

    def complete(self, call: Calls, place: Place, made: Made, props: Props) -> None:
        self._set(call, made.physical, props)

    def _set(self, call: Calls, arn: str, props: Props) -> None:
        pairs = _pairs(props.get("TargetGroupAttributes"))
        if pairs:
            call("elbv2", "modify_target_group_attributes", TargetGroupArn=arn, Attributes=pairs)

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        arn = made.physical
        call("elbv2", "modify_target_group", TargetGroupArn=arn, **only(new, *self.modifiable))
        self._set(call, arn, new)
        return made

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        call.gone("elbv2", "delete_target_group", TargetGroupArn=made.physical)

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        arns = [made.physical]
        found = looked(call, "elbv2", "describe_target_groups", TargetGroupArns=arns)
        if found is None:
            return None
        return only(found["TargetGroups"][0], "HealthCheckPath", "HealthCheckIntervalSeconds")


KINDS: list[type[Kind]] = [
    Mesh,
    VirtualNode,
    VirtualRouter,
    Route,
    VirtualService,
    PrivateNamespace,
    HttpNamespace,
    Registry,
    LoadBalancer,
    Listener,
    ListenerRule,
    TargetGroup,
]
