"""What a person may do. Each action records a wish in one conditional update, with its Event.

Called by every door (web, admin, API, CLI) through ``doors``. Nothing here touches the world:
ticks do. Raises NotAllowed, Stale, ActionRefused, InvalidInput; a refusal is an Event as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import AbstractBaseUser


@dataclass(frozen=True)
class Ask:
    """Who asks, through which door (web, admin, api, cli), when and why.

    ``request_id`` makes a repeated request harmless: the second does nothing and raises nothing.
    ``expect`` is the rollout's revision on the page the person saw; another one raises Stale.
    """

    by: AbstractBaseUser
    source: str
    now: datetime
    reason: str = ""
    request_id: str | None = None
    expect: int | None = None
