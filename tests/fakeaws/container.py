"""One container of a task as a process of this machine, with its health check.

Called by ``engine`` only, from one thread. An image is a name here: what contains "envoy" is the
Envoy of this environment, "echo_server" and "echo_client" are the programs of ``echo_services``.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PR_SET_PDEATHSIG = 1
# Loaded here, because nothing may be loaded between fork and exec.
LIBC = ctypes.CDLL(None)
# Until it is healthy a container is asked as fast as this: tests wait for it.
IMPATIENT_S = 0.2
CONDITIONS = ("START", "HEALTHY", "COMPLETE", "SUCCESS")
NO_PROGRAM, TAIL = 127, 2000
# Whole addresses only: 10.0.0.0 has 0.0.0.0 in it.
OWN = re.compile(r"(?<![\d.])(127\.0\.0\.1|0\.0\.0\.0)(?![\d.])")

Json = Mapping[str, Any]


def _die_with(parent: int) -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def docker_code(code: int) -> int:
    """An exit code as Docker and ECS say it: 137 for SIGKILL."""
    return 128 - code if code < 0 else code


class Container:
    """Made when the task starts; ``start`` is called once what it depends on is there."""

    def __init__(self, definition: Json, ip: str, folder: Path, bin_folder: Path) -> None:
        self.name = str(definition["name"])
        self.essential = bool(definition.get("essential", True))
        self.depends_on = [
            (str(d["containerName"]), str(d["condition"])) for d in definition.get("dependsOn", ())
        ]
        self.grace_s = float(definition.get("stopTimeout", 30))
        self.exit_code: int | None = None
        self.healthy = False
        self._definition = definition
        self._ip = ip
        self._log = folder / f"{self.name}.log"
        self._env = self._environment(folder, bin_folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._check: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._next_check = self._check_until = 0.0
        self._kill_at: float | None = None

    # What it is

    def _environment(self, folder: Path, bin_folder: Path) -> dict[str, str]:
        given = {str(e["name"]): str(e["value"]) for e in self._definition.get("environment", ())}
        own = {name: OWN.sub(self._ip, value) for name, value in given.items()}
        path = f"{bin_folder}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        base = {
            "HOME": str(folder),
            "HOSTNAME": f"ip-{self._ip.replace('.', '-')}",
            "LANG": "C.UTF-8",
        }
        if self._is("echo_"):
            base["HOST"] = self._ip
        return {**base, **own, "PATH": path}

    def _is(self, program: str) -> bool:
        return program in str(self._definition["image"])

    def _argv(self) -> list[str]:
        entry = list(self._definition.get("entryPoint") or ())
        command = list(self._definition.get("command") or ())
        if entry or command:
            return [self._own(word) for word in (*entry, *command)]
        if self._is("echo_server"):
            return ["python", "-m", "echo_services.server"]
        if self._is("echo_client"):
            return ["python", "-m", "echo_services.client"]
        if self._is("envoy"):
            # App Mesh's image: it asks AWS for everything. Here it only says that it lives.
            admin = {"socket_address": {"address": self._ip, "port_value": 9901}}
            text = json.dumps({"admin": {"address": admin}})
            return ["envoy", "--disable-hot-restart", "--config-yaml", text]
        return []

    def _own(self, word: str) -> str:
        """A word of a command, where localhost is the task too."""
        return OWN.sub(self._ip, word.replace("localhost", self._ip))

    # Its life

    @property
    def started(self) -> bool:
        return self._process is not None or self.exit_code is not None

    @property
    def running(self) -> bool:
        return self._process is not None and self.exit_code is None

    @property
    def has_check(self) -> bool:
        return bool(self._definition.get("healthCheck"))

    def fulfils(self, condition: str) -> bool:
        """Whether another container that waits for this one may start."""
        return {
            "START": self.started,
            "HEALTHY": self.healthy,
            "COMPLETE": self.exit_code is not None,
            "SUCCESS": self.exit_code == 0,
        }[condition]

    def start(self) -> None:
        """From the thread that lives as long as the engine: the child dies with it."""
        argv = self._argv()
        try:
            self._process = self._run(argv, self._log) if argv else None
            why = f"No program here stands for the image {self._definition['image']}."
        except (OSError, ValueError) as error:
            why = str(error)
        if self._process is None:
            self._log.write_text(f"{why}\n")
            self.exit_code = NO_PROGRAM

    def _run(self, argv: list[str], log: Path) -> subprocess.Popen[bytes]:
        die: Callable[[], None] = partial(_die_with, os.getpid())
        with log.open("ab") as output:
            return subprocess.Popen(
                argv,
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die,
                # Not in our group: Ctrl-C is for us, and we end them in order.
                start_new_session=True,
            )

    def look(self, now: float) -> None:
        """Notice that it ended, ask for its health, end it for good when its grace is over."""
        if self._process is None or self.exit_code is not None:
            return
        code = self._process.poll()
        if code is not None:
            self.exit_code, self.healthy = docker_code(code), False
            self._end_check()
        elif self._kill_at is not None:
            if now >= self._kill_at:
                self._process.kill()
        elif self.has_check:
            self._ask(now)

    def stop(self, now: float, grace_s: float) -> None:
        """SIGTERM, and SIGKILL when the shorter of both graces is over."""
        if self.running and self._kill_at is None and self._process is not None:
            self._kill_at = now + min(grace_s, self.grace_s)
            self._process.terminate()

    def kill(self) -> None:
        """End it now and wait for it."""
        self._end_check()
        if self._process is not None:
            self._process.kill()
            self.exit_code = docker_code(self._process.wait())

    def tail(self) -> str:
        """The end of what it wrote."""
        with suppress(FileNotFoundError):
            return self._log.read_text(errors="replace")[-TAIL:]
        return ""

    # Its health

    def _ask(self, now: float) -> None:
        check = self._definition["healthCheck"]
        if self._check is not None:
            code = self._check.poll()
            if code is None and now >= self._check_until:
                self._end_check()
                code = 1
            if code is not None:
                self._check = None
                self._heard(code == 0, int(check.get("retries", 3)))
                pause = float(check.get("interval", 30)) if self.healthy else IMPATIENT_S
                self._next_check = now + pause
        elif now >= self._next_check:
            self._check_until = now + float(check.get("timeout", 5))
            log = self._log.with_suffix(".health")
            self._check = self._run(self._check_argv(list(check["command"])), log)

    def _check_argv(self, command: list[str]) -> list[str]:
        how, *words = (self._own(word) for word in command)
        return ["bash", "-c", *words] if how == "CMD-SHELL" else words

    def _heard(self, well: bool, retries: int) -> None:
        self._failures = 0 if well else self._failures + 1
        self.healthy = well or (self.healthy and self._failures < retries)

    def _end_check(self) -> None:
        if self._check is not None:
            self._check.kill()
            self._check.wait()
            self._check = None
