"""Kinds of resource that say who may talk to whom: security groups and their rules.

Called through the list in cloudformation_registry. Knows no stack.
"""

from __future__ import annotations

import re
from typing import Any

from tests.fakeaws.cloudformation_client import Calls, Refused
from tests.fakeaws.cloudformation_kinds import Kind, Made, Place, Props, looked, without
from tests.fakeaws.cloudformation_network import put_tags

# What EC2 allows in descriptions of security groups and their rules.
_DESCRIPTION = re.compile(r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{0,255}")
_ALL_OUT = {"IpProtocol": "-1", "CidrIp": "0.0.0.0/0"}


def permission(rule: Props) -> dict[str, Any]:
    """A template's rule as the API's IpPermission. Protocol -1 has no ports."""
    described = {"Description": rule["Description"]} if "Description" in rule else {}
    if not _DESCRIPTION.fullmatch(rule.get("Description", "")):
        raise Refused("Invalid rule description. Valid descriptions are strings less than 256")
    asked: dict[str, Any] = {"IpProtocol": str(rule["IpProtocol"])}
    if asked["IpProtocol"] != "-1":
        asked |= {"FromPort": int(rule["FromPort"]), "ToPort": int(rule["ToPort"])}
    peers = (
        ("CidrIp", "IpRanges", "CidrIp"),
        ("CidrIpv6", "Ipv6Ranges", "CidrIpv6"),
        ("SourceSecurityGroupId", "UserIdGroupPairs", "GroupId"),
        ("DestinationSecurityGroupId", "UserIdGroupPairs", "GroupId"),
        ("SourcePrefixListId", "PrefixListIds", "PrefixListId"),
        ("DestinationPrefixListId", "PrefixListIds", "PrefixListId"),
    )
    for name, listed, key in peers:
        if name in rule:
            asked[listed] = [{key: rule[name], **described}]
    return asked


class SecurityGroup(Kind):
    type = "AWS::EC2::SecurityGroup"

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        if not _DESCRIPTION.fullmatch(props["GroupDescription"]):
            raise Refused(
                "Value for parameter GroupDescription is invalid. Character sets beyond "
                "ASCII are not supported."
            )
        found = call(
            "ec2",
            "create_security_group",
            GroupName=props.get("GroupName") or place.name(),
            Description=props["GroupDescription"],
            VpcId=props.get("VpcId"),
        )
        group = found["GroupId"]
        put_tags(call, place, group, props)
        return Made(group, {"GroupId": group, "VpcId": props.get("VpcId", "")})

    def complete(self, call: Calls, place: Place, made: Made, props: Props) -> None:
        group, out = made.physical, props.get("SecurityGroupEgress", [_ALL_OUT])
        self._move(call, group, "ingress", [], props.get("SecurityGroupIngress", []))
        self._move(call, group, "egress", [_ALL_OUT], out)

    def _move(self, call: Calls, group: str, way: str, old: list[Props], new: list[Props]) -> None:
        for rule in old:
            if rule not in new:
                asked = [permission(rule)]  # moto compares descriptions too
                call.gone("ec2", f"revoke_security_group_{way}", GroupId=group, IpPermissions=asked)
        for rule in new:
            if rule not in old:
                asked = [permission(rule)]
                call("ec2", f"authorize_security_group_{way}", GroupId=group, IpPermissions=asked)

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        both = [
            ("ingress", "SecurityGroupIngress", []),
            ("egress", "SecurityGroupEgress", [_ALL_OUT]),
        ]
        for way, name, default in both:
            self._move(call, made.physical, way, old.get(name, default), new.get(name, default))
        put_tags(call, place, made.physical, new)
        return made

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        call.gone("ec2", "delete_security_group", GroupId=made.physical)

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        found = looked(call, "ec2", "describe_security_groups", GroupIds=[made.physical])
        if found is None:
            return None
        group = found["SecurityGroups"][0]
        return {
            "SecurityGroupIngress": seen_rules(group["IpPermissions"]),
            "SecurityGroupEgress": seen_rules(group["IpPermissionsEgress"]),
        }


def seen_rules(permissions: list[dict[str, Any]]) -> list[str]:
    """Rules as sorted words, one per peer, so that order and grouping do not count."""
    words = []
    for one in permissions:
        ports = f"{one['IpProtocol']} {one.get('FromPort', '*')}-{one.get('ToPort', '*')}"
        peers = [r["CidrIp"] for r in one.get("IpRanges", [])]
        peers += [r["CidrIpv6"] for r in one.get("Ipv6Ranges", [])]
        peers += [r["GroupId"] for r in one.get("UserIdGroupPairs", [])]
        peers += [r["PrefixListId"] for r in one.get("PrefixListIds", [])]
        words += [f"{ports} {peer}" for peer in peers]
    return sorted(words)


class _GroupRule(Kind):
    way = ""
    egress = False

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        asked = [permission(without(props, "GroupId"))]
        found = call(
            "ec2",
            f"authorize_security_group_{self.way}",
            GroupId=props["GroupId"],
            IpPermissions=asked,
        )
        rules = found["SecurityGroupRules"]
        return Made(rules[0]["SecurityGroupRuleId"], {"Id": rules[0]["SecurityGroupRuleId"]})

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        where = {"GroupId": props["GroupId"], "SecurityGroupRuleIds": [made.physical]}
        call.gone("ec2", f"revoke_security_group_{self.way}", **where)

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        found = looked(call, "ec2", "describe_security_groups", GroupIds=[props["GroupId"]])
        if found is None:
            return None
        group = found["SecurityGroups"][0]
        rules = group["IpPermissionsEgress" if self.egress else "IpPermissions"]
        (wanted,) = seen_rules([permission(without(props, "GroupId"))])
        return {} if wanted in seen_rules(rules) else None


class IngressRule(_GroupRule):
    type = "AWS::EC2::SecurityGroupIngress"
    way = "ingress"


class EgressRule(_GroupRule):
    type = "AWS::EC2::SecurityGroupEgress"
    way, egress = "egress", True


KINDS: list[type[Kind]] = [SecurityGroup, IngressRule, EgressRule]
