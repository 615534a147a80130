from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.echo_services.programs import Program

Start = Callable[..., Program]


def _started(stack: ExitStack, module: str, logs: Path, env: dict[str, str]) -> Program:
    program = Program(module, logs, **env)
    stack.callback(program.end)
    return program


@pytest.fixture
def start_server(tmp_path) -> Iterator[Start]:
    """Start a server with these variables, and wait until it listens."""
    with ExitStack() as stack:

        def start(**env: str) -> Program:
            program = _started(stack, "echo_services.server", tmp_path, env)
            program.wait_until_listening()
            return program

        yield start


@pytest.fixture
def start_client(tmp_path) -> Iterator[Start]:
    """Start a client of this server's address with these variables, and wait until it listens."""
    with ExitStack() as stack:

        def start(endpoint: str, **env: str) -> Program:
            settings = {"SERVER_ENDPOINT": endpoint, **env}
            program = _started(stack, "echo_services.client", tmp_path, settings)
            program.wait_until_listening()
            return program

        yield start


@pytest.fixture
def start_anything(tmp_path) -> Iterator[Start]:
    """Start a module with these variables, and wait for nothing."""
    with ExitStack() as stack:
        yield lambda module, **env: _started(stack, module, tmp_path, env)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Program]:
    """A server of version 1.0 with nothing else set, shared by the tests of a file."""
    with ExitStack() as stack:
        logs = tmp_path_factory.mktemp("server")
        program = _started(stack, "echo_services.server", logs, {})
        program.wait_until_listening()
        yield program


@pytest.fixture(scope="module")
def client(server, tmp_path_factory) -> Iterator[Program]:
    """A client of ``server``, shared by the tests of a file."""
    with ExitStack() as stack:
        logs = tmp_path_factory.mktemp("client")
        settings = {"SERVER_ENDPOINT": server.address}
        program = _started(stack, "echo_services.client", logs, settings)
        program.wait_until_listening()
        yield program
