"""What we ship to browsers: vendored files are what their makers made, nothing is inline."""

import base64
import gzip
import hashlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "rollouts/static/rollouts"
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
SRI = dict(line.split() for line in (STATIC / "vendor/SRI.txt").read_text().splitlines())


@pytest.mark.parametrize("name", SRI)
def test_a_vendored_file_has_its_recorded_hash(name):
    digest = hashlib.sha384((STATIC / name).read_bytes()).digest()
    assert SRI[name] == f"sha384-{base64.b64encode(digest).decode()}"


def test_every_vendored_file_has_a_hash_and_a_licence():
    files = {f"vendor/{path.name}" for path in (STATIC / "vendor").glob("*.*s")}
    assert files <= set(SRI)
    licences = {path.name for path in (STATIC / "vendor/licenses").iterdir()}
    assert licences == {
        f"{name}.LICENSE" for name in ("htmx.org", "uplot", "lucide-static", "inter")
    }


def test_no_vendored_script_points_to_a_source_map_that_is_not_there():
    for path in (STATIC / "vendor").glob("*.js"):
        assert "sourceMappingURL" not in path.read_text()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_has_nothing_that_the_security_policy_forbids(path):
    assert not re.search(
        r'\sstyle="|<style|\son[a-z]+="|hx-on|<script(?![^>]*\bsrc=)|https?://', path.read_text()
    )


def test_every_icon_that_a_template_names_is_in_the_sprite():
    drawn = set(re.findall(r'<symbol id="([^"]+)"', (STATIC / "icons.svg").read_text()))
    named = {
        name
        for path in TEMPLATES
        for name in re.findall(r"""{% icon ["']([a-z0-9-]+)["']""", path.read_text())
    }
    assert named <= drawn


def test_pages_without_a_chart_stay_under_25_kilobytes_of_script():
    scripts = ("vendor/htmx-4.0.1.min.js", "app.js", "dialogs.js", "live.js")
    sizes = [
        len(gzip.compress((STATIC / name).read_bytes()))
        for name in scripts
        if (STATIC / name).exists()
    ]
    assert sum(sizes) <= 25_000


def test_no_style_sheet_or_script_of_ours_is_longer_than_400_lines():
    for path in [*STATIC.glob("*.css"), *STATIC.glob("*.js")]:
        assert len(path.read_text().splitlines()) <= 400, path.name


def _luminance(colour: str) -> float:
    colour = colour.lstrip("#")
    pairs = [c * 2 for c in colour] if len(colour) == 3 else re.findall("..", colour)
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (int(pair, 16) / 255 for pair in pairs)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _themes():
    blocks = re.findall(r":root[^{]*\{([^}]*)\}", (STATIC / "tokens.css").read_text())
    coloured = [dict(re.findall(r"--([\w-]+): (#\w+);", block)) for block in blocks]
    return [tokens for tokens in coloured if "bg" in tokens]


def test_the_two_copies_of_the_dark_theme_are_the_same():
    _, automatic, chosen = _themes()
    assert automatic == chosen


@pytest.mark.parametrize("tokens", _themes(), ids=["light", "auto-dark", "dark"])
def test_text_and_versions_have_enough_contrast(tokens):
    pairs = [(fg, bg) for fg in ("ink", "muted") for bg in ("bg", "surface", "sunken")]
    pairs += [(f"s{n}", bg) for n in range(1, 6) for bg in ("bg", "surface", "sunken")]
    pairs += [(name, f"{name}-bg") for name in ("ok", "warn", "info", "danger")]
    pairs += [("on-ink", "ink"), ("on-ink", "ink-hover"), ("danger", "surface")]
    for front, back in pairs:
        light, dark = sorted((_luminance(tokens[front]), _luminance(tokens[back])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (front, back)
