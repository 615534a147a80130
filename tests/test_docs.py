"""The docs say what is there: settings, links, make targets, modules, errors, containers."""

import ast
import inspect
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
from django.core.management import get_commands

from rollouts import errors

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
PACKAGES = ("rollouts", "meshui", "echo_services", "protos", "tests", "tools")
READERS = {"text", "number", "choice", "flag", "words"}

# Not "page": that is a browser's, to pytest-playwright.
every_page = pytest.mark.parametrize("document", PAGES, ids=lambda of: str(of.relative_to(ROOT)))


def read(name):
    return (ROOT / name).read_text()


def settings_read():
    """The names that settings.py and env.py read from the environment."""
    found = set()
    for name in ("meshui/settings.py", "meshui/env.py"):
        for node in ast.walk(ast.parse(read(name))):
            if isinstance(node, ast.Call) and node.args and called(node) in {*READERS, "get"}:
                first = node.args[0]
                if isinstance(first, ast.Constant) and str(first.value).isupper():
                    found.add(first.value)
    return found


def called(node):
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def documented():
    return set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", read(".env.example"), re.M))


def test_every_setting_is_in_the_example():
    assert len(settings_read()) > 20
    assert settings_read() == documented()


def test_every_setting_of_the_example_has_one_comment_line():
    lines = read(".env.example").splitlines()
    for before, line in pairwise(lines):
        if re.match(r"#?[A-Z][A-Z0-9_]+=", line) and not line.startswith("# "):
            assert before.startswith("# "), line


def test_every_setting_is_in_the_operations_page():
    named = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", read("docs/operations.md")))
    assert settings_read() - named == set()


def test_the_example_itself_has_no_mistake(tmp_path):
    pairs = re.findall(r"^#?([A-Z][A-Z0-9_]+)=(.*)$", read(".env.example"), re.M)
    given = {name: value for name, value in pairs if name != "MESHUI_SECRET_KEY"}
    result = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **given, "MESHUI_STATE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def slug(heading):
    """The anchor of a heading, as forges make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(document):
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", document.read_text(), re.M)}


@every_page
def test_every_relative_link_leads_somewhere(document):
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_page
def test_every_make_target_that_is_named_exists(document):
    targets = set(re.findall(r"^([a-z][a-z-]*):", read("Makefile"), re.M))
    named = re.findall(r"(?:`|^)make ([a-z][a-z-]*)", document.read_text(), re.M)
    assert set(named) <= targets


INSTALLERS = {"chromium", "awscli"}  # of what `make test` needs


def test_every_make_target_for_people_is_in_the_contributing_page():
    targets = set(re.findall(r"^([a-z][a-z-]*):.*## ", read("Makefile"), re.M)) - INSTALLERS
    assert targets <= set(re.findall(r"`make ([a-z][a-z-]*)`", read("CONTRIBUTING.md")))


def exists(name):
    """``rollouts/web/urls.py``, ``rollouts.clock``, ``rollouts/xds`` or ``rollouts.web.urls.x``."""
    path = name if "/" in name else name.replace(".", "/")
    tries = (path, f"{path}.py", path.rpartition("/")[0] + ".py", path.rpartition("/")[0])
    return any((ROOT / each).exists() for each in (tries[:1] if "/" in name else tries) if each)


@every_page
def test_every_module_that_is_named_exists(document):
    text = document.read_text()
    names = re.findall(rf"`((?:{'|'.join(PACKAGES)})[/.][\w./]*\w)`", text)
    modules = re.findall(r"python -m ((?:rollouts|echo_services|protos|tests)[\w.]*\w)", text)
    assert [name for name in [*names, *modules] if not exists(name)] == []


@every_page
def test_every_command_that_is_named_exists(document):
    named = set(re.findall(r"manage\.py ([a-z]+)", document.read_text()))
    assert named - set(get_commands()) == set()


def test_every_function_on_the_walk_of_a_click_is_there():
    walk = read("docs/architecture.md").partition("## The walk of a click")[2].partition("## ")[0]
    pairs = re.findall(r"`([\w/]+\.py)`\s+`(\w+)`", walk)
    assert len(pairs) > 5
    for path, function in pairs:
        assert re.search(rf"^(?:async )?def {function}\b", read(path), re.M), (path, function)


def test_the_drawn_layers_are_those_that_are_checked():
    drawn = read("docs/architecture.md").partition("a new module must be placed")[2]
    contract = read("pyproject.toml").partition("layers = [")[2].partition("]")[0]
    layers = [re.split(r" [:|] ", line) for line in re.findall(r'"(.+)"', contract)]
    assert layers == [line.split(" | ") for line in drawn.split("```")[1].split("\n") if line]


def test_every_test_that_the_envoy_page_names_exists():
    named = re.findall(r"`(test_\w+)`", read("docs/routers/envoy.md"))
    files = ("tests/xds/test_envoy.py", "tests/e2e/test_sidecar.py")
    defined = set(re.findall(r"def (test_\w+)", "".join(map(read, files))))
    assert named
    assert set(named) <= defined


def spoken():
    """Every text that the code may say: literals joined, placeholders cut out."""
    sources = [*ROOT.glob("rollouts/**/*.py"), *ROOT.glob("templates/rollouts/**/*.html")]
    text = " ".join(path.read_text() for path in sources)
    text = re.sub(r'"\s*\n\s*f?"', "", text)
    return re.sub(r"</?\w+[^>]*>", "", text)


def test_every_sentence_of_what_to_do_when_is_one_that_is_said():
    rows = read("docs/operations.md").partition("## What to do when")[2]
    said = spoken()
    sentences = re.findall(r"^\| (\*.+?\*) \|", rows, re.M)
    assert len(sentences) > 15
    for sentence in sentences:
        for part in re.split(r"…|\*|, (?=\*)", sentence):
            words = part.strip(" ().,:")
            assert words in said, sentence


def test_every_error_is_in_the_tree():
    tree = set(re.findall(r"(\w+)(?:  |\n)", errors.__doc__ or ""))
    classes = {name for name, of in inspect.getmembers(errors, inspect.isclass)}
    assert classes - tree == set()


def compose():
    """Service name → its lines; the file is plain enough to be read by indentation."""
    text = read("docker-compose.yml").partition("\nservices:\n")[2].partition("\nvolumes:\n")[0]
    parts = re.split(r"^  ([a-z]+):\n", text, flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_containers_are_the_processes_of_up():
    parts = {"postgres", "valkey", "prepare", "mesh"}
    assert set(compose()) == parts | {"controlplane", "worker", "build", "beat", "sampler", "web"}


@pytest.mark.parametrize("name", sorted(set(compose()) - {"postgres", "valkey"}))
def test_the_command_of_every_container_exists(name):
    (command,) = re.findall(r"^    command: (\[.+\])$", compose()[name], re.M)
    program, first, second, *_ = json.loads(command)
    assert program == "python"
    if first == "manage.py":
        assert second in get_commands()
    else:
        assert (first, bool(find_spec(second))) == ("-m", True)


def test_images_have_tags_and_no_other_registry():
    images = re.findall(r"(?:image: |^FROM )(\S+)", read("docker-compose.yml") + read("Dockerfile"))
    assert images
    for image in images:
        repository, _, tag = image.partition(":")
        assert tag not in ("", "latest"), image
        assert "." not in repository.partition("/")[0], image


def test_the_image_is_built_from_the_locked_packages():
    recipe = read("Dockerfile")
    assert "--require-hashes" in recipe
    assert re.search(r"^USER (?!root)\w+$", recipe, re.M)
    (version,) = re.findall(r"uv==([\d.]+)", recipe)
    assert set(re.findall(r"(?:uv==|UV_VERSION := )([\d.]+)", read("Makefile"))) == {version}
