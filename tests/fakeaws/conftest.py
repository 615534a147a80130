"""The tests of the fake itself hold it by these fixtures."""

from tests.fakeaws.fixtures import aws, aws_server, client, client_of

__all__ = ["aws", "aws_server", "client", "client_of"]
