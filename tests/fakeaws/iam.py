"""Lets roles use AWS's own managed policies, of which moto knows none unless it loads them all.

``install()`` is called by the server before it starts.
"""

from __future__ import annotations

import re
from typing import Any

from moto.iam.models import AWSManagedPolicy, IAMBackend

_AWS_POLICY = re.compile(r"arn:aws:iam::aws:policy/(?P<path>.*/)?(?P<name>[\w+=,.@-]+)")


def _known(backend: IAMBackend, arn: str) -> None:
    """Make the policy of AWS that is named known to moto; any name is taken for a real one."""
    named = _AWS_POLICY.fullmatch(arn)
    if named is None or arn in backend.managed_policies:
        return
    data = {
        "Path": f"/{named['path'] or ''}",
        "Document": {"Version": "2012-10-17", "Statement": []},
        "CreateDate": "2020-01-01T00:00:00+00:00",
        "UpdateDate": "2020-01-01T00:00:00+00:00",
    }
    policy = AWSManagedPolicy.from_data(
        named["name"], backend.account_id, backend.region_name, data
    )
    backend.managed_policies[policy.arn] = policy


def install() -> None:
    """Wrap moto's attaching of policies to roles. Harmless when repeated."""
    original = IAMBackend.attach_role_policy
    if hasattr(original, "meshui"):
        return

    def attach_role_policy(self: IAMBackend, policy_arn: str, role_name: str) -> Any:
        _known(self, policy_arn)
        return original(self, policy_arn, role_name)

    attach_role_policy.meshui = True  # type: ignore[attr-defined]
    IAMBackend.attach_role_policy = attach_role_policy  # type: ignore[method-assign]
