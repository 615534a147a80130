"""What every page of a mesh must say about it, such as that its router has been shut down.

Read by the pages of infrastructure, services and rollouts. It asks the adapters' own ``caps`` and
nobody else.
"""

from __future__ import annotations

from rollouts.errors import RouterError
from rollouts.routers.base import router


def router_notice(kind: str) -> str:
    """The sentence that every page shows about a router; empty for most."""
    try:
        return router(kind).caps.notice
    except RouterError as error:
        return str(error)
