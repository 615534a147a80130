"""The body of a Sync, "read the rows again, and tell me what the proxies say", as JSON.

PURE. Called by ``server``; the other side is ``rollouts/routers/envoy.py``.
"""

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rollouts.errors import InvalidInput
from rollouts.xds.proxies import ProxyState

LONGEST_WAIT_S = 30.0


def read(body: bytes) -> tuple[str, str, int, float]:
    """Read ``{"mesh", "service", "generation", "wait_ms"}``; raises InvalidInput."""
    try:
        asked = json.loads(body)
        wait_s = float(asked.get("wait_ms", 0)) / 1000
        return (
            str(asked["mesh"]),
            str(asked["service"]),
            int(asked["generation"]),
            min(max(wait_s, 0.0), LONGEST_WAIT_S),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInput("body", "A sync names a mesh, a service and a generation.") from error


def as_json(proxy: ProxyState) -> dict[str, Any]:
    return {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in asdict(proxy).items()
    }
