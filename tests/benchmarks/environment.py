"""Gives this run a product of its own: a state folder and free ports, in the environment.

Must run before anything imports Django's settings; the product's processes inherit it.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path

import django

PORTS = ("", "PUBLIC_", "EGRESS_", "ENVOY_ADMIN_", "XDS_", "BROKER_")


def settle(state: Path) -> None:
    """Point the settings at ``state`` and at free ports, and set Django up in this process."""
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "meshui.settings",
        "MESHUI_STATE": str(state),
        "MESHUI_LOG_LEVEL": "WARNING",
        **{
            f"MESHUI_{name}PORT": str(port)
            for name, port in zip(PORTS, _free_ports(len(PORTS)), strict=True)
        },
    }
    for name in ("BROKER_URL", "DATABASE_URL", "MESHUI_CONTROL_PLANE"):
        os.environ.pop(name, None)
    django.setup()


def _free_ports(number: int) -> list[int]:
    """All different: every one stays bound until the last is known."""
    with ExitStack() as open_now:
        sockets = [open_now.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
