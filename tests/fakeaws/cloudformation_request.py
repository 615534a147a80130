"""A request to the fake CloudFormation, and the list of what answers which call.

Called by the modules that hold the answers. It reads requests, it decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.cloudformation.models import CloudFormationBackend
from moto.cloudformation.responses import CloudFormationResponse

from tests.fakeaws.cloudformation_api import (
    Account,
    checked_wish,
    invalid,
)
from tests.fakeaws.cloudformation_stack import Stack, Wish

Verb = Callable[["Request"], Any]
VERBS: dict[str, Verb] = {}


def account_of(backend: CloudFormationBackend) -> Account:
    """The stacks of a moto backend."""
    found = backend.__dict__.get("meshui_account")
    if found is None:
        found = Account(backend.account_id, backend.region_name)
        backend.__dict__["meshui_account"] = found
    assert isinstance(found, Account)
    return found


class Request:
    """What a caller asks, with the account it asks."""

    def __init__(self, response: CloudFormationResponse) -> None:
        self._response = response
        self.account = account_of(response.cloudformation_backend)

    def get(self, name: str, default: Any = None) -> Any:
        """A parameter of the call."""
        return self._response._get_param(name, default)

    def flag(self, name: str) -> bool:
        """A parameter that is true or false."""
        return bool(self._response._get_bool_param(name, False))

    @property
    def stack(self) -> Stack:
        """The stack that the call names."""
        return self.account.find(self.get("StackName"))

    def wish(self, was: Stack | None) -> Wish:
        """The template, parameters and tags that the call asks for."""
        body = self.get("TemplateBody")
        if body is None and self.get("TemplateURL"):
            body = self._response._get_stack_from_s3_url(self.get("TemplateURL"))
        if body is None and self.flag("UsePreviousTemplate") and was is not None:
            body = was.wish.body
        if body is None:
            raise invalid("Either Template URL or Template Body must be specified.")
        given = {}
        for one in self.get("Parameters", []):
            name = one["ParameterKey"]
            previous = str(one.get("UsePreviousValue", False)).lower() == "true"
            if previous and was is not None:
                if name in was.wish.values:
                    given[name] = was.wish.values[name]
            else:
                given[name] = str(one.get("ParameterValue", ""))
        tags = {tag["Key"]: tag["Value"] for tag in self.get("Tags", [])}
        if was is not None and not tags:
            tags = dict(was.tags)
        return checked_wish(body, given, tags)

    def mode(self) -> str:
        """What to do when the work fails."""
        nothing = self.flag("DisableRollback")
        return (
            "DO_NOTHING"
            if nothing
            else self.get("OnStackFailure", self.get("OnFailure", "ROLLBACK"))
        )


def verb(function: Verb) -> Verb:
    """Make a function the answer to the call of its name."""

    VERBS[function.__name__] = function
    return function
