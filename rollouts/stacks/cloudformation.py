"""The provisioner ``cloudformation``: the three stacks of a mesh on AWS.

``provision.tick`` calls ``advance`` until the stack is as wanted. Each call makes a few requests
and returns; what it must remember is in the stack's row, so any worker can go on from there:

    proposal  proposing.step   change set → what changes, what it costs → *proposed*
    present   creating.step    execute that change set → events → outputs → *ready*
    absent    destroying.step  services to rest → delete → events → *absent*
    (drift)   drifting.step    while *ready*
"""

from __future__ import annotations

from collections.abc import Sequence

from rollouts.errors import AwsError, InvalidInput, PkiError, ProvisionerError
from rollouts.models import Stack
from rollouts.stacks import creating, destroying, drifting, proposing
from rollouts.stacks.base import Change, Progress
from rollouts.stacks.changes import previewed


class CloudFormationProvisioner:
    proposes = True

    def preview(self, stack: Stack) -> Sequence[Change]:
        """The stored proposal; asking for one is a wish of its own, for it takes a while."""
        return previewed(stack.proposal)

    def advance(self, stack: Stack) -> Progress:
        try:
            return _step(stack)
        except AwsError as error:
            raise ProvisionerError(str(error), permanent=error.permanent) from error
        except (InvalidInput, PkiError) as error:
            raise ProvisionerError(str(error), permanent=True) from error


def _step(stack: Stack) -> Progress:
    if stack.phase == "ready" and stack.drift_asked:
        return drifting.step(stack)
    if stack.asked.get("discard"):
        return proposing.discard(stack)
    if stack.wanted == Stack.PROPOSAL:
        return proposing.step(stack)
    if stack.wanted == Stack.PRESENT:
        return creating.step(stack)
    return destroying.step(stack)
