"""The tests of the fake itself hold it by these fixtures."""

from tests.fakeaws.fixtures import aws, aws_server, client

__all__ = ["aws", "aws_server", "client"]
