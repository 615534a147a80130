"""What versions have left on a router of AWS: target groups, virtual nodes.

Called by ``destroying``, which waits for them to go: ticks delete them, and they would keep the
stack ``mesh`` from being deleted.
"""

from __future__ import annotations

import re
from typing import Any

from rollouts import aws
from rollouts.aws import Account
from rollouts.errors import AwsDenied, AwsGone, AwsRefused, AwsUnreachable
from rollouts.models import Mesh


def left(mesh: Mesh) -> dict[str, int]:
    """How many there are, by what they are. Raises AwsError."""
    account = aws.account_of(mesh.settings)
    if mesh.router == "alb":
        return {"target group": _groups(account, mesh.slug)}
    if mesh.router == "appmesh":
        return {"virtual node": _nodes(account, mesh.slug)}
    return {}


def _groups(account: Account, slug: str) -> int:
    mine = re.compile(rf"{re.escape(slug)}-v[0-9]+")
    every: list[Any] = aws.pages(
        account, "elbv2", "describe_target_groups", "TargetGroups", PageSize=400
    )
    return sum(bool(mine.fullmatch(each["TargetGroupName"])) for each in every)


def _nodes(account: Account, slug: str) -> int:
    of_a_version = re.compile(r".+--[0-9]+")
    try:
        every: list[Any] = aws.pages(
            account, "appmesh", "list_virtual_nodes", "virtualNodes", meshName=slug
        )
    except AwsGone:
        return 0
    except (AwsUnreachable, AwsDenied, AwsRefused):
        return 0  # App Mesh has ended: what nobody can ask must not hold up the end of the rest
    return sum(bool(of_a_version.fullmatch(each["virtualNodeName"])) for each in every)
