"""Which resources of stacks shall fail, and why. Asked by the stacks' work.

The wish is in ``inject.FAIL_RESOURCES``: a logical id fails when the resource is made or changed,
``<id>:undo`` when an update is rolled back, ``<id>:delete`` when it is removed.
"""

from __future__ import annotations

from tests.fakeaws import inject

APPLY, UNDO, DELETE = "apply", "undo", "delete"


def reason_to_fail(logical: str, when: str) -> str | None:
    """Why this resource fails now, None if it does not."""
    key = logical if when == APPLY else f"{logical}:{when}"
    return inject.FAIL_RESOURCES.get(key)
