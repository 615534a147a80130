"""The three groups that come with meshui: viewer, operator, admin.

Connected to ``post_migrate`` by ``apps``. A group that exists keeps what an administrator gave or
took from it: only a new group gets its permissions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import Group, Permission
from django.db.models import Q

VIEW = Q(codename__startswith="view_")
OPERATE = Q(codename__in=("operate_service", "rollback_rollout"))
ROLES: Mapping[str, Q] = {"viewer": VIEW, "operator": VIEW | OPERATE, "admin": Q()}


def create_groups(using: str = "default", **_: Any) -> None:
    """Create the groups that are missing, with their permissions on our own models."""
    for name, which in ROLES.items():
        group, new = Group.objects.using(using).get_or_create(name=name)
        if new:
            ours = Permission.objects.using(using).filter(content_type__app_label="rollouts")
            group.permissions.set(ours.filter(which))
