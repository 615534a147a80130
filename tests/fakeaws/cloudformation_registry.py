"""Every kind of resource that the fake CloudFormation can make, by its type.

Called by stacks, change sets and drift.
"""

from __future__ import annotations

from tests.fakeaws import (
    cloudformation_groups,
    cloudformation_identity,
    cloudformation_mesh,
    cloudformation_network,
    cloudformation_tasks,
)
from tests.fakeaws.cloudformation_client import Refused
from tests.fakeaws.cloudformation_kinds import Kind

KINDS: dict[str, Kind] = {
    kind.type: kind()
    for kind in (
        *cloudformation_network.KINDS,
        *cloudformation_groups.KINDS,
        *cloudformation_identity.KINDS,
        *cloudformation_tasks.KINDS,
        *cloudformation_mesh.KINDS,
    )
}


def kind_of(resource_type: str) -> Kind:
    """The kind. Raises Refused for one that the fake cannot make."""
    if resource_type not in KINDS:
        raise Refused(f"This fake cannot make {resource_type}")
    return KINDS[resource_type]
