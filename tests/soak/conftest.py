"""A stack of one's own for a long run."""

from tests.e2e.conftest import fresh_stack

__all__ = ["fresh_stack"]
