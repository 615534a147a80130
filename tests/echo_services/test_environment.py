import subprocess
import sys

import pytest

from echo_services import client, server
from echo_services.environment import SettingError
from tests.echo_services.programs import ROOT

BAD_FOR_BOTH = [
    ("PORT", "0"),
    ("PORT", "65536"),
    ("PORT", "http"),
    ("PORT", "9" * 5000),
    ("HOST", "localhost"),
    ("HOST", "127.0.0.1:80"),
    ("LOG_LEVEL", "loud"),
]
BAD_FOR_THE_SERVER = [
    ("VERSION", "1.0 beta"),
    ("VERSION", "1.0\r\nx: y"),
    ("VERSION", "v" * 65),
    ("GRACE_SECONDS", "-1"),
    ("ERROR_SHARE", "1.01"),
    ("ERROR_SHARE", "nan"),
    ("ERROR_SHARE", "some"),
    ("LATENCY_MS", "-5"),
    ("LATENCY_MS", "inf"),
    ("CRASH_AFTER", "-1"),
    ("CRASH_AFTER", "1.5"),
    ("NEVER_HEALTHY", "yes"),
    ("SLOW_START_SECONDS", "soon"),
]
BAD_FOR_THE_CLIENT = [
    ("SERVER_ENDPOINT", "127.0.0.1"),
    ("SERVER_ENDPOINT", "127.0.0.1:0"),
    ("SERVER_ENDPOINT", "http://127.0.0.1:50051"),
    ("SERVER_AUTHORITY", "two words"),
    ("SERVER_TLS", "yes"),
    ("TIMEOUT_MS", "0"),
    ("TIMEOUT_MS", "1e3"),
]


@pytest.mark.parametrize(("variable", "value"), BAD_FOR_BOTH + BAD_FOR_THE_SERVER)
def test_the_server_refuses_a_bad_value_by_the_name_of_its_variable(variable, value):
    with pytest.raises(SettingError, match=f"^{variable} must be .+, not "):
        server.Settings.from_environment({variable: value})


@pytest.mark.parametrize(("variable", "value"), BAD_FOR_BOTH + BAD_FOR_THE_CLIENT)
def test_the_client_refuses_a_bad_value_by_the_name_of_its_variable(variable, value):
    with pytest.raises(SettingError, match=f"^{variable} must be .+, not "):
        client.Settings.from_environment({variable: value})


@pytest.mark.parametrize("settings", [server.Settings, client.Settings])
def test_an_empty_variable_is_an_unset_one(settings):
    variables = [name for name, _ in BAD_FOR_BOTH + BAD_FOR_THE_SERVER + BAD_FOR_THE_CLIENT]

    assert settings.from_environment(dict.fromkeys(variables, "")) == settings.from_environment({})


def test_the_defaults_are_those_of_the_documentation():
    echo, front = server.Settings.from_environment({}), client.Settings.from_environment({})

    assert (echo.host, echo.port, echo.version, echo.grace_seconds) == (
        "127.0.0.1",
        50051,
        "1.0",
        5,
    )
    assert (front.host, front.port, front.endpoint) == ("127.0.0.1", 8080, "127.0.0.1:50051")
    assert (front.authority, front.timeout_ms) == (None, 3000)


@pytest.mark.parametrize(
    ("module", "variable"),
    [("echo_services.server", "ERROR_SHARE"), ("echo_services.client", "TIMEOUT_MS")],
)
def test_a_program_with_a_bad_value_ends_with_code_2_and_one_sentence(
    start_anything, module, variable
):
    program = start_anything(module, **{variable: "2e9"})

    assert program.wait_for_end() == 2
    assert program.complained.startswith(f"{variable} must be a")
    assert program.complained.count("\n") == 1
    assert program.printed == ""


def test_the_workload_imports_nothing_of_what_rolls_it_out():
    code = (
        "import sys, echo_services.server, echo_services.client;"
        "print({'django', 'rollouts', 'meshui'} & {name.split('.')[0] for name in sys.modules})"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert found.stdout == "set()\n"
