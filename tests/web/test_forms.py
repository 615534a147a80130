"""What the forms refuse, each with a sentence."""

import pytest

from rollouts.domain.plan import PRESETS, Step
from rollouts.models import Service
from rollouts.web.forms import DeployForm, ServiceForm, VersionForm
from tests.web.world import build_world

pytestmark = pytest.mark.django_db
BUILD = {"label": "1.1", "command": "{python} -m echo_services.server --port {port}"}


@pytest.mark.parametrize(
    "label",
    [
        *("", " ", "x" * 64, "x" * 1_000_000, "../..", "--help", "$(id)", "a\nb", "a\x00b"),
        *("<script>", "{{7*7}}", "1.0\u202e", "\u0661.0", "\uff11.0", "=cmd|x", "1.0\u200b", "a b"),
        "1.0",  # exists
    ],
)
def test_it_refuses_a_label_that_is_not_one(label):
    form = VersionForm(build_world().service, {**BUILD, "label": label})
    assert "label" in form.errors


@pytest.mark.parametrize(
    "command",
    [
        *("'open", "--help", '["a", 1]', '[["a"]]', "[" * 100_000, "a\x00b", "a\nb", "x" * 5000),
        *("run {secret}", "[1", "run\u202e", "a " * 101),
    ],
)
def test_it_refuses_a_command_that_is_not_one(command):
    assert "command" in VersionForm(None, {**BUILD, "command": command}).errors


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("run --name 'a b' {port}", ["run", "--name", "a b", "{port}"]),
        ('["run", "a b", "{python}"]', ["run", "a b", "{python}"]),
    ],
)
def test_it_reads_a_command_line_or_a_json_list(command, argv):
    form = VersionForm(None, {**BUILD, "command": command})
    assert form.is_valid(), form.errors
    assert form.cleaned_data["command"] == argv


@pytest.mark.parametrize("text", ["A", "1A=b", "A B=c", "A=b\nA=c", "A=\x00", "A=\u202eb", "=b"])
def test_it_refuses_an_environment_that_is_not_one(text):
    assert "environment" in VersionForm(None, {**BUILD, "environment": text}).errors


def test_it_reads_environment_lines():
    form = VersionForm(None, {**BUILD, "environment": "A=1\r\n# why\r\n\r\nB=x=y\r\n"})
    assert form.is_valid(), form.errors
    assert form.cleaned_data["environment"] == {"A": "1", "B": "x=y"}


@pytest.mark.parametrize("image", ["../x", "a//b", "UPPER", "x@sha256:12", "$(id)", "--help"])
def test_it_refuses_an_image_that_is_not_one(image):
    assert "image" in VersionForm(None, {**BUILD, "image": image}).errors


def test_a_version_needs_a_command_or_an_image():
    assert "command" in VersionForm(None, {"label": "1.1"}).errors
    assert VersionForm(None, {"label": "1.1", "image": "example.com/echo:1.1"}).is_valid()


NAMES = {"slug": "shop", "name": "shop.local"}


def service_fields(**changed):
    fields = {name: field.initial for name, field in ServiceForm().fields.items()}
    defaults = {f.name: f.default for f in Service._meta.fields if f.has_default()}
    known = {name: defaults.get(name, value) for name, value in fields.items()}
    return {k: v for k, v in known.items() if v is not None} | NAMES | changed


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("slug", v) for v in ("add", "A", "-a", "a\u0430b", "a\x00b", "../..", "x" * 41)),
        *(("name", v) for v in ("a b", "a\nb", "x" * 254, "ex\u0430mple.com", "$(id)")),
        *(("tasks", v) for v in ("0", "21", "-1", "1.5", "NaN", "\u0663", "true", "9" * 400)),
        *(("timeout_s", v) for v in ("0", "301", "NaN", "inf", "1e2", "\u0663")),
        *(("sample_pattern", v) for v in ("(", "no group", "(a)(b)", "(" * 150, "x" * 201)),
        *(("sample_path", v) for v in ("x", "//host/", "/a/../b", "/a b", "http://x/", "/\u202e")),
        *(("public_prefix", v) for v in ("shop", "/shop", "/../", "/a b/")),
        *(("default_plan", v) for v in ("nonsense", "50:", "101", "")),
        ("health_kind", "telepathy"),
    ],
)
def test_it_refuses_a_setting_that_is_not_one(field, value):
    world = build_world()
    sent = service_fields(mesh=world.mesh.pk) | {field: value}
    assert field in ServiceForm(sent).errors


def test_it_takes_sound_settings():
    world = build_world()
    form = ServiceForm(service_fields(mesh=world.mesh.pk))
    assert form.is_valid(), form.errors


@pytest.mark.parametrize(
    ("field", "steps"),
    [
        *(("steps", s) for s in ("", "-1,100", "101", "50.5,100", "NaN")),
        *(("steps", s) for s in ("\u0665\u0660,100", "true", "1" * 400, "50:-1s,100")),
        *(("steps", s) for s in ("50:1000000000000s,100", ",".join(["1"] * 101))),
    ],
)
def test_it_refuses_steps_that_are_no_plan(field, steps):
    form = DeployForm(build_world().service, {"version": 2, "strategy": "custom", "steps": steps})
    assert field in form.errors


@pytest.mark.parametrize("steps", ["50", "50,20,100", "1,2,10,80"])
def test_weights_may_fall_and_end_below_100(steps):
    form = DeployForm(build_world().service, {"version": 2, "strategy": "custom", "steps": steps})
    assert form.is_valid(), form.errors


@pytest.mark.parametrize("hold", ["-1", "0", "1e3", "999999999999", "\u0661", "1.5"])
def test_it_refuses_a_hold_that_is_none(hold):
    form = DeployForm(build_world().service, {"version": 2, "strategy": "half", "hold_s": hold})
    assert "hold_s" in form.errors


def test_a_hold_replaces_the_holds_of_a_preset():
    form = DeployForm(build_world().service, {"version": 2, "strategy": "half", "hold_s": "7"})
    assert form.is_valid(), form.errors
    assert form.cleaned_data["plan"] == (Step(50, 7), Step(100))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_can_be_chosen(preset):
    form = DeployForm(build_world().service, {"version": 2, "strategy": preset})
    assert form.is_valid(), form.errors


def test_the_running_version_cannot_be_deployed_again():
    form = DeployForm(build_world().service, {"version": 1, "strategy": "half"})
    assert "version" in form.errors
