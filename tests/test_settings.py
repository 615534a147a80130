"""Settings: every wrong value is one clear sentence, and what is unset is safe."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WORDS = """
import django, json, sys
django.setup()
from django.conf import settings
print(json.dumps({name: getattr(settings, name) for name in sys.argv[1:]}, default=str))
"""


def run(tmp_path, *argv, **given):
    """Run Python in the repository with no other settings than these. Unset: those of ``.env``."""
    env = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "meshui.settings"}
    env |= {"MESHUI_STATE": str(tmp_path), **given}
    return subprocess.run(
        [sys.executable, *argv], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )


def mistakes(result):
    """The sentences of ``manage.py check``."""
    lines = [line for line in result.stderr.splitlines() if line.startswith("?: (meshui.E001) ")]
    return [line.partition(") ")[2] for line in lines]


def settings_of(tmp_path, *names, **given):
    import json

    result = run(tmp_path, "-c", WORDS, *names, **given)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


PORT = "must be a whole number from 1 to 65535, not"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("MESHUI_PORT", "0", f"MESHUI_PORT {PORT} '0'."),
        ("MESHUI_PORT", "65536", f"MESHUI_PORT {PORT} '65536'."),
        ("MESHUI_PORT", "eighty", f"MESHUI_PORT {PORT} 'eighty'."),
        ("MESHUI_PORT", "٨٠", f"MESHUI_PORT {PORT} '٨٠'."),
        ("MESHUI_PORT", "", f"MESHUI_PORT {PORT} ''."),
        ("MESHUI_PUBLIC_PORT", "-1", f"MESHUI_PUBLIC_PORT {PORT} '-1'."),
        ("MESHUI_EGRESS_PORT", "1.5", f"MESHUI_EGRESS_PORT {PORT} '1.5'."),
        ("MESHUI_ENVOY_ADMIN_PORT", "x", f"MESHUI_ENVOY_ADMIN_PORT {PORT} 'x'."),
        ("MESHUI_XDS_PORT", "x", f"MESHUI_XDS_PORT {PORT} 'x'."),
        ("MESHUI_BROKER_PORT", "x", f"MESHUI_BROKER_PORT {PORT} 'x'."),
        (
            "MESHUI_SAMPLE_KEEP",
            "99",
            "MESHUI_SAMPLE_KEEP must be a whole number from 100 to 1000000, not '99'.",
        ),
        (
            "MESHUI_BUCKET_KEEP_HOURS",
            "0",
            "MESHUI_BUCKET_KEEP_HOURS must be a whole number from 1 to 2160, not '0'.",
        ),
        ("MESHUI_DEBUG", "yes", "MESHUI_DEBUG must be one of 0, 1, not 'yes'."),
        ("MESHUI_HTTPS", "true", "MESHUI_HTTPS must be one of 0, 1, not 'true'."),
        (
            "MESHUI_LOG_LEVEL",
            "LOUD",
            "MESHUI_LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR, not 'LOUD'.",
        ),
        ("MESHUI_SECRET_KEY", "short", "MESHUI_SECRET_KEY must have at least 32 characters."),
        ("MESHUI_SECRET_KEY", "", "MESHUI_SECRET_KEY must have at least 32 characters."),
        ("AWS_ACCOUNT_ID", "1234", "AWS_ACCOUNT_ID must be 12 digits."),
        ("BROKER_URL", "amqp://x", "BROKER_URL must start with redis:// or rediss://."),
        (
            "DATABASE_URL",
            "mysql://me:hidden@x/y",
            "DATABASE_URL must start with sqlite:/// or postgres://",
        ),
    ],
)
def test_a_wrong_value_is_one_sentence(tmp_path, name, value, sentence):
    result = run(tmp_path, "manage.py", "check", **{name: value})
    assert result.returncode == 1
    (mistake,) = mistakes(result)
    assert mistake.startswith(sentence)
    assert "Traceback" not in result.stderr


def test_every_mistake_is_named_at_once(tmp_path):
    result = run(tmp_path, "manage.py", "check", MESHUI_PORT="x", MESHUI_DEBUG="x")
    assert len(mistakes(result)) == 2


def test_a_wrong_value_stops_up_before_it_starts_anything(tmp_path):
    result = run(tmp_path, "manage.py", "up", MESHUI_PORT="x")
    assert result.returncode == 1
    assert "MESHUI_PORT must be a whole number" in result.stderr
    assert not (tmp_path / "supervisor.sock").exists()
    assert not (tmp_path / "log").exists()


def test_the_password_of_the_database_is_not_in_the_sentence(tmp_path):
    result = run(tmp_path, "manage.py", "check", DATABASE_URL="mysql://me:hidden-word@host/name")
    assert mistakes(result)
    assert "hidden-word" not in result.stdout + result.stderr


def test_with_nothing_set_everything_is_right(tmp_path):
    assert run(tmp_path, "manage.py", "check").returncode == 0


def test_the_secret_key_is_made_once_for_its_owner_only(tmp_path):
    state = tmp_path / "state"
    first = settings_of(state, "SECRET_KEY")
    assert len(first["SECRET_KEY"]) >= 50
    assert (state / "secret-key").stat().st_mode & 0o777 == 0o600
    assert settings_of(state, "SECRET_KEY") == first


def test_two_installations_have_two_keys(tmp_path):
    assert settings_of(tmp_path / "a", "SECRET_KEY") != settings_of(tmp_path / "b", "SECRET_KEY")


def test_a_given_key_is_used_and_not_written(tmp_path):
    given = "0123456789abcdef0123456789abcdef"
    assert settings_of(tmp_path, "SECRET_KEY", MESHUI_SECRET_KEY=given)["SECRET_KEY"] == given
    assert not (tmp_path / "secret-key").exists()


def test_everything_listens_on_loopback_unless_told(tmp_path):
    names = ("BIND", "CONTROL_PLANE", "BROKER_URL", "DEBUG", "ALLOWED_HOSTS")
    found = settings_of(tmp_path, *names)
    assert found["BIND"] == "127.0.0.1"
    assert found["CONTROL_PLANE"] == "127.0.0.1:18000"
    assert found["BROKER_URL"] == "redis://127.0.0.1:16379/0"
    assert found["DEBUG"] is False
    assert set(found["ALLOWED_HOSTS"]) == {"127.0.0.1", "localhost", "[::1]"}


def test_everything_that_is_not_code_is_in_the_state_folder(tmp_path):
    names = ("SUPERVISOR_SOCKET", "STATIC_ROOT", "CELERY_BEAT_SCHEDULE_FILENAME", "DATABASES")
    found = settings_of(tmp_path, *names)
    paths = [found["DATABASES"]["default"]["NAME"], *(found[name] for name in names[:3])]
    assert all(Path(path).is_relative_to(tmp_path) for path in paths)


def test_https_makes_cookies_secure(tmp_path):
    names = ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE")
    assert set(settings_of(tmp_path, *names, MESHUI_HTTPS="1").values()) == {True}
    assert set(settings_of(tmp_path, *names).values()) == {False}
