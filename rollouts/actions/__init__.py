"""What a person may do. Each action records a wish in one conditional update, with its Event.

Called by every door (web, admin, API, CLI) through ``doors``. Nothing here touches the world:
ticks do. Raises NotAllowed, Stale, ActionRefused, InvalidInput; ``doors`` records refusals.
"""

from rollouts.actions.ask import Ask
from rollouts.actions.builds import cancel_build, request_build
from rollouts.actions.rollouts import (
    request_abort,
    request_deploy,
    request_destroy,
    request_pause,
    request_promote,
    request_promote_full,
    request_resume,
    request_return,
    request_rollback,
)
from rollouts.actions.services import (
    add_service,
    add_version,
    change_service,
    set_automatic_deploys,
)
from rollouts.actions.stacks import (
    add_mesh,
    change_mesh,
    delete_mesh,
    request_deprovision,
    request_discard,
    request_drift,
    request_proposal,
    request_provision,
)

__all__ = [
    "Ask",
    "add_mesh",
    "add_service",
    "add_version",
    "cancel_build",
    "change_mesh",
    "change_service",
    "delete_mesh",
    "request_abort",
    "request_build",
    "request_deploy",
    "request_deprovision",
    "request_destroy",
    "request_discard",
    "request_drift",
    "request_pause",
    "request_promote",
    "request_promote_full",
    "request_proposal",
    "request_provision",
    "request_resume",
    "request_return",
    "request_rollback",
    "set_automatic_deploys",
]
