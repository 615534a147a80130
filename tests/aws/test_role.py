"""With which identity AWS is asked: a role that is assumed once, credentials that are renewed."""

from __future__ import annotations

import pytest

from rollouts import aws as calls
from rollouts.aws import Account
from rollouts.errors import AwsDenied
from tests.fakeaws.control import Fake
from tests.fakeaws.fixtures import REGION

ROLE = "arn:aws:iam::210987654321:role/deploy"


def operations(fake: Fake) -> list[str]:
    return [call["operation"] for call in fake.calls()]


def test_calls_are_made_as_the_role(to_fake: Fake) -> None:
    account = Account(REGION, ROLE, "an-external-id")
    for _ in range(2):
        who = calls.call(account, "sts", "get_caller_identity")
        assert ":assumed-role/deploy/meshui" in who["Arn"]
    assert operations(to_fake) == ["AssumeRole", "GetCallerIdentity", "GetCallerIdentity"]
    (asked,) = [c["request"] for c in to_fake.calls() if c["operation"] == "AssumeRole"]
    assert asked["ExternalId"] == "an-external-id"


def test_a_role_that_may_not_be_assumed_is_named(to_fake: Fake) -> None:
    to_fake.inject("sts", "AssumeRole", error="AccessDeniedException")
    with pytest.raises(AwsDenied, match=f"does not allow sts:AssumeRole.*{ROLE}"):
        calls.call(Account(REGION, ROLE), "sts", "get_caller_identity")


def test_pages_are_asked_again_once_when_credentials_have_expired(to_fake: Fake) -> None:
    to_fake.inject("ecs", "ListClusters", error="ExpiredTokenException", times=1)
    assert calls.pages(Account(REGION), "ecs", "list_clusters", "clusterArns") == []
    assert operations(to_fake) == ["ListClusters", "ListClusters"]
