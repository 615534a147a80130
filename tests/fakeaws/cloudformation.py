"""Puts the fake CloudFormation in the place of moto's: requests in, answers out.

``install()`` is called by the server before it starts. Stacks live on moto's backend objects, so
that moto's reset forgets them. What happens to stacks is decided in cloudformation_api.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from moto.cloudformation.models import CloudFormationBackend, cloudformation_backends
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import ActionResult, EmptyResult

from tests.fakeaws import cloudformation_changing, cloudformation_looking, world
from tests.fakeaws.cloudformation_api import Account
from tests.fakeaws.cloudformation_request import VERBS, Request, Verb, account_of
from tests.fakeaws.cloudformation_stack import Stack

# Imported for the answers that they register.
ANSWERS = (cloudformation_changing, cloudformation_looking)


def _stacks(backend: CloudFormationBackend) -> dict[str, Stack]:
    """By name, those that are not deleted: for those who read moto's backend."""
    stacks = account_of(backend).stacks
    return {stack.name: stack for stack in stacks if stack.status != "DELETE_COMPLETE"}


def accounts() -> list[Account]:
    """Every account and region that was ever asked for a stack."""
    return [
        account_of(backend)
        for regions in cloudformation_backends.values()
        for backend in regions.values()
    ]


def _advance(_now: float) -> None:
    """Bring every stack up to the clock, so that whoever asks any service sees its resources."""
    for account in accounts():
        account.advance()


def living_stacks() -> list[Stack]:
    """Every stack that is not deleted, with its work brought up to the clock."""
    with world.LOCK:
        _advance(0)
        return [s for a in accounts() for s in a.stacks if s.status != "DELETE_COMPLETE"]


def _method(verb: Verb) -> Callable[[CloudFormationResponse], ActionResult]:
    @functools.wraps(verb)
    def method(response: CloudFormationResponse) -> ActionResult:
        with world.LOCK:
            request = Request(response)
            request.account.advance()
            answer = verb(request)
        return EmptyResult() if answer is None else ActionResult(answer)

    return method


def install() -> None:
    """Replace moto's CloudFormation. Harmless when repeated."""
    world.on_tick(_advance)
    CloudFormationBackend.stacks = property(_stacks, lambda self, value: None)  # type: ignore[assignment]
    shaped = CloudFormationResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER
    for path in [path for path in shaped if "StackSet" not in path]:
        del shaped[path]  # moto's own objects need it, our answers have the API's shape
    for name, verb in VERBS.items():
        setattr(CloudFormationResponse, name, _method(verb))
