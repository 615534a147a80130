"""Packs the icons in use into one SVG sprite. Called by ``tools/vendor.sh`` only."""

import re
import sys
from pathlib import Path

NAMES = [
    "undo-2",
    "pause",
    "play",
    "chevrons-right",
    "octagon-x",
    "rocket",
    "check",
    "x",
    "circle",
    "circle-dashed",
    "loader-circle",
    "triangle-alert",
    "info",
    "search",
    "sun",
    "moon",
    "monitor",
    "copy",
    "download",
    "external-link",
    "clock",
    "server",
    "activity",
    "layers",
    "history",
    "settings",
    "log-out",
    "chevron-down",
    "chevron-right",
    "user",
    "link",
    "printer",
    "wifi-off",
    "terminal",
    "filter",
    "keyboard",
    "lock",
    "minus",
    "circle-pause",
    "circle-check",
    "circle-x",
    "refresh-cw",
    "eye",
    "menu",
    "plus",
    "trash-2",
    "globe",
    "network",
    "hand",
    "shield",
    "pencil",
    "arrow-right",
    "snowflake",
    "wrench",
]
SYMBOL = (
    '<symbol id="{name}" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2"'
    ' stroke-linecap="round" stroke-linejoin="round">{body}</symbol>'
)


def symbol(folder: Path, name: str) -> str:
    """The drawing of one icon; exits with a sentence when it has none."""
    drawing = re.search(r"<svg[^>]*>(.*)</svg>", (folder / f"{name}.svg").read_text(), re.DOTALL)
    if drawing is None:
        sys.exit(f"{name}.svg holds no <svg>.")
    return SYMBOL.format(name=name, body=re.sub(r"\s+", " ", drawing[1]).strip())


def sprite(folder: Path) -> str:
    symbols = "\n".join(symbol(folder, name) for name in NAMES)
    return f'<svg xmlns="http://www.w3.org/2000/svg">\n{symbols}\n</svg>\n'


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(sprite(Path(sys.argv[1])))
