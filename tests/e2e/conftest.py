"""The stack that the tests here share, and fresh ones for tests that break theirs.

A stack takes some seconds to start; ``stack`` is started once and brought back to rest before each
test: ``echo-server`` 0.9 is stable at 100 %, nothing is rolling out.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.browser import chromium, cookies, web
from tests.e2e.session import WebSession
from tests.e2e.stack import Stack, running

__all__ = ["chromium", "cookies", "web"]  # fixtures of browser.py


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("stack")) as stack:
        yield stack
        stack.stop()


@pytest.fixture
def stack(shared_stack: Stack) -> Stack:
    shared_stack.rest()
    return shared_stack


@pytest.fixture
def fresh_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack of one's own, to be broken."""
    with running(tmp_path / "stack") as stack:
        yield stack


@pytest.fixture
def who(stack: Stack) -> WebSession:
    """Somebody who is signed in and may do everything."""
    return stack.web_session()
