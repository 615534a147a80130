"""Kinds of resource of EC2: network, endpoints, a machine.

Called through the list in cloudformation_registry. Knows no stack.
"""

from __future__ import annotations

from typing import Any

from tests.fakeaws.cloudformation_client import Calls
from tests.fakeaws.cloudformation_kinds import Kind, Made, Place, Props, looked, only, without


def put_tags(call: Calls, place: Place, physical: str, props: Props) -> None:
    """Give a thing of EC2 its own tags and the stack's."""
    tags = place.tagged(props.get("Tags"))
    if tags:
        call("ec2", "create_tags", Resources=[physical], Tags=tags)


class _Ec2(Kind):
    """A resource that one call makes, one removes and one describes by its id."""

    make = ""
    remove = ""
    describe = ""
    answer = ""  # the key of the made thing in the answer
    listed = ""  # the key of the list in the description
    key = ""  # the name of its id
    ids = ""  # the parameter that takes a list of ids
    attributes: tuple[str, ...] = ()

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        found = call("ec2", self.make, **without(props, "Tags"))
        thing = found[self.answer] if self.answer else found
        put_tags(call, place, thing[self.key], props)
        return self.made(thing)

    def made(self, thing: dict[str, Any]) -> Made:
        kept = {name: thing[name] for name in (self.key, *self.attributes) if name in thing}
        return Made(thing[self.key], kept)

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        if without(old, "Tags") != without(new, "Tags"):
            return super().update(call, place, made, old, new)
        put_tags(call, place, made.physical, new)
        return made

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        call.gone("ec2", self.remove, **{self.key: made.physical})

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        found = looked(call, "ec2", self.describe, **{self.ids: [made.physical]})
        things = found[self.listed] if found else []
        return {} if things else None


class Vpc(_Ec2):
    type = "AWS::EC2::VPC"
    make, remove, describe = "create_vpc", "delete_vpc", "describe_vpcs"
    answer, listed, key, ids = "Vpc", "Vpcs", "VpcId", "VpcIds"
    attributes = ("CidrBlock",)
    switches = ("EnableDnsSupport", "EnableDnsHostnames")

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        made = super().create(call, place, without(props, *self.switches))
        named = {"Name": "vpc-id", "Values": [made.physical]}
        groups = call("ec2", "describe_security_groups", Filters=[named])["SecurityGroups"]
        return Made(
            made.physical, {**made.attributes, "DefaultSecurityGroup": groups[0]["GroupId"]}
        )

    def complete(self, call: Calls, place: Place, made: Made, props: Props) -> None:
        self._switch(call, made.physical, props)

    def _switch(self, call: Calls, vpc: str, props: Props) -> None:
        for name, value in only(props, *self.switches).items():
            call("ec2", "modify_vpc_attribute", VpcId=vpc, **{name: {"Value": value}})

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        self._switch(call, made.physical, new)
        return super().update(
            call, place, made, without(old, *self.switches), without(new, *self.switches)
        )


class Subnet(_Ec2):
    type = "AWS::EC2::Subnet"
    make, remove, describe = "create_subnet", "delete_subnet", "describe_subnets"
    answer, listed, key, ids = "Subnet", "Subnets", "SubnetId", "SubnetIds"
    attributes = ("AvailabilityZone", "CidrBlock", "VpcId")

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        return super().create(call, place, without(props, "MapPublicIpOnLaunch"))

    def complete(self, call: Calls, place: Place, made: Made, props: Props) -> None:
        self._public(call, made.physical, props)

    def _public(self, call: Calls, subnet: str, props: Props) -> None:
        if "MapPublicIpOnLaunch" in props:
            value = {"Value": props["MapPublicIpOnLaunch"]}
            call("ec2", "modify_subnet_attribute", SubnetId=subnet, MapPublicIpOnLaunch=value)

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        self._public(call, made.physical, new)
        switch = "MapPublicIpOnLaunch"
        return super().update(call, place, made, without(old, switch), without(new, switch))


class InternetGateway(_Ec2):
    type = "AWS::EC2::InternetGateway"
    make, remove = "create_internet_gateway", "delete_internet_gateway"
    describe, answer, listed = "describe_internet_gateways", "InternetGateway", "InternetGateways"
    key, ids = "InternetGatewayId", "InternetGatewayIds"


class GatewayAttachment(Kind):
    type = "AWS::EC2::VPCGatewayAttachment"

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        call("ec2", "attach_internet_gateway", **props)
        return Made(f"IGW|{props['VpcId']}", {"AttachmentType": "IGW"})

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        call.gone("ec2", "detach_internet_gateway", **props)

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        found = looked(
            call,
            "ec2",
            "describe_internet_gateways",
            InternetGatewayIds=[props["InternetGatewayId"]],
        )
        attached = found["InternetGateways"][0]["Attachments"] if found else []
        return {} if any(one["VpcId"] == props["VpcId"] for one in attached) else None


class Address(Kind):
    type = "AWS::EC2::EIP"

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        found = call("ec2", "allocate_address", Domain=props.get("Domain", "vpc"))
        put_tags(call, place, found["AllocationId"], props)
        return Made(found["PublicIp"], only(found, "AllocationId", "PublicIp"))

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        put_tags(call, place, made.attributes["AllocationId"], new)
        return made

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        call.gone("ec2", "release_address", AllocationId=made.attributes["AllocationId"])

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        wanted = [made.attributes["AllocationId"]]
        return (
            None if looked(call, "ec2", "describe_addresses", AllocationIds=wanted) is None else {}
        )


class NatGateway(_Ec2):
    type = "AWS::EC2::NatGateway"
    make, remove, describe = "create_nat_gateway", "delete_nat_gateway", "describe_nat_gateways"
    answer, listed, key, ids = "NatGateway", "NatGateways", "NatGatewayId", "NatGatewayIds"

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        found = looked(call, "ec2", self.describe, NatGatewayIds=[made.physical])
        states = [one["State"] for one in found["NatGateways"]] if found else []
        return {} if "available" in states else None


class RouteTable(_Ec2):
    type = "AWS::EC2::RouteTable"
    make, remove, describe = "create_route_table", "delete_route_table", "describe_route_tables"
    answer, listed, key, ids = "RouteTable", "RouteTables", "RouteTableId", "RouteTableIds"


class NetworkRoute(Kind):
    type = "AWS::EC2::Route"

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        call("ec2", "create_route", **props)
        return Made(f"{props['RouteTableId']}|{props['DestinationCidrBlock']}")

    def update(self, call: Calls, place: Place, made: Made, old: Props, new: Props) -> Made:
        call("ec2", "replace_route", **new)
        return made

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        call.gone("ec2", "delete_route", **only(props, "RouteTableId", "DestinationCidrBlock"))

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        tables = [props["RouteTableId"]]
        found = looked(call, "ec2", "describe_route_tables", RouteTableIds=tables)
        routes = found["RouteTables"][0]["Routes"] if found else []
        for route in routes:
            if route.get("DestinationCidrBlock") == props["DestinationCidrBlock"]:
                return only(route, "GatewayId", "NatGatewayId")
        return None


class RouteTableAssociation(Kind):
    type = "AWS::EC2::SubnetRouteTableAssociation"

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        found = call("ec2", "associate_route_table", **props)
        return Made(found["AssociationId"], {"Id": found["AssociationId"]})

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        call.gone("ec2", "disassociate_route_table", AssociationId=made.physical)

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        tables = [props["RouteTableId"]]
        found = looked(call, "ec2", "describe_route_tables", RouteTableIds=tables)
        held = found["RouteTables"][0]["Associations"] if found else []
        ids = [one["RouteTableAssociationId"] for one in held]
        return {} if made.physical in ids else None


class VpcEndpoint(_Ec2):
    type = "AWS::EC2::VPCEndpoint"
    make, remove, describe = "create_vpc_endpoint", "delete_vpc_endpoints", "describe_vpc_endpoints"
    answer, listed, key, ids = "VpcEndpoint", "VpcEndpoints", "VpcEndpointId", "VpcEndpointIds"

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        call.gone("ec2", self.remove, VpcEndpointIds=[made.physical])

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        found = looked(call, "ec2", self.describe, VpcEndpointIds=[made.physical])
        states = [one["State"].lower() for one in found["VpcEndpoints"]] if found else []
        return {} if any(state != "deleted" for state in states) else None


class Instance(Kind):
    type = "AWS::EC2::Instance"

    def create(self, call: Calls, place: Place, props: Props) -> Made:
        asked = without(props, "Tags", "IamInstanceProfile", "NetworkInterfaces", "MetadataOptions")
        faces = [
            {**without(face, "GroupSet"), "Groups": face.get("GroupSet")}
            for face in props.get("NetworkInterfaces", [])
        ]
        profile = props.get("IamInstanceProfile")
        found = call(
            "ec2",
            "run_instances",
            MinCount=1,
            MaxCount=1,
            **asked,
            NetworkInterfaces=faces or None,
            MetadataOptions=props.get("MetadataOptions"),
            IamInstanceProfile={"Name": profile} if profile else None,
        )
        instance = found["Instances"][0]["InstanceId"]
        put_tags(call, place, instance, props)
        seen = call("ec2", "describe_instances", InstanceIds=[instance])
        thing = seen["Reservations"][0]["Instances"][0]
        return Made(
            instance,
            {
                "PublicIp": thing.get("PublicIpAddress", ""),
                "PrivateIp": thing.get("PrivateIpAddress", ""),
                "PublicDnsName": thing.get("PublicDnsName", ""),
                "AvailabilityZone": thing["Placement"]["AvailabilityZone"],
            },
        )

    def delete(self, call: Calls, made: Made, props: Props) -> None:
        call.gone("ec2", "terminate_instances", InstanceIds=[made.physical])

    def look(self, call: Calls, made: Made, props: Props) -> dict[str, Any] | None:
        found = looked(call, "ec2", "describe_instances", InstanceIds=[made.physical])
        things = found["Reservations"][0]["Instances"] if found and found["Reservations"] else []
        living = [one for one in things if one["State"]["Name"] != "terminated"]
        return only(living[0], "InstanceType") if living else None


KINDS: list[type[Kind]] = [
    Vpc,
    Subnet,
    InternetGateway,
    GatewayAttachment,
    Address,
    NatGateway,
    RouteTable,
    NetworkRoute,
    RouteTableAssociation,
    VpcEndpoint,
    Instance,
]
