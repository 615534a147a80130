"""The pages of the two routers name tests that exist, and the rights that the code needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TESTS = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))


def page(kind: str) -> str:
    return (ROOT / f"docs/routers/{kind}.md").read_text()


@pytest.mark.parametrize("kind", ["appmesh", "alb"])
def test_every_test_that_a_page_names_exists(kind: str) -> None:
    named = re.findall(r"`(test_\w+)`", page(kind))
    assert named
    assert set(named) <= set(re.findall(r"def (test_\w+)", TESTS))


@pytest.mark.parametrize("kind", ["appmesh", "alb"])
def test_every_call_of_a_router_is_among_the_rights_of_its_page(kind: str) -> None:
    source = (ROOT / f"rollouts/routers/{kind}.py").read_text()
    service = {"appmesh": "appmesh", "alb": "elbv2"}[kind]
    called = set(re.findall(rf'"{service}",\s+"([a-z_]+)"', source))
    assert len(called) > 4
    rights = page(kind).partition("## Rights")[2].partition("\n## ")[0]
    for operation in called:
        assert "".join(word.capitalize() for word in operation.split("_")) in rights
