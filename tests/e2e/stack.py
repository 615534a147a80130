"""The whole product as a person runs it: ``manage.py up`` in a folder and on ports of its own.

Tests steer it through its doors (web, command line), look at its rows by reading the database
file, and send signals to its processes, which it finds by asking the supervisor.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from rollouts.supervisor.client import SupervisorClient, SupervisorUnreachable
from tests.e2e.load import Load
from tests.e2e.rows import SERVICE, Row, Rows
from tests.e2e.session import WebSession
from tests.ports import free_port

__all__ = ["NAME", "PASSWORD", "SERVICE", "Row", "Stack", "running"]
ROOT = Path(__file__).resolve().parents[2]
PORTS = ("MESHUI_PORT", "MESHUI_PUBLIC_PORT", "MESHUI_EGRESS_PORT", "MESHUI_ENVOY_ADMIN_PORT",
         "MESHUI_XDS_PORT", "MESHUI_BROKER_PORT")  # fmt: skip
NAME, PASSWORD = "ada", "kept-for-tests-only"
POLL_S = 0.02
START_S = 90.0  # generous: the machine may be busy


class Stack(Rows):
    """One ``manage.py up``. Everything in it is found by the folder ``state``."""

    def __init__(self, state: Path, **environment: str) -> None:
        super().__init__(state)
        state.mkdir(parents=True, exist_ok=True)
        self.ports = {name: free_port() for name in PORTS}
        known = {k: v for k, v in os.environ.items() if not k.startswith(("MESHUI_", "BROKER_"))}
        self.env = {
            **known,
            # Said even where it is the default: a developer's .env must not reach in here.
            "MESHUI_STATE": str(state),
            "MESHUI_BIND": "127.0.0.1",
            "DATABASE_URL": f"sqlite:///{state / 'meshui.sqlite3'}",
            "BROKER_URL": f"redis://127.0.0.1:{self.ports['MESHUI_BROKER_PORT']}/0",
            **{name: str(port) for name, port in self.ports.items()},
            **environment,
        }
        self.up: subprocess.Popen[bytes] | None = None
        self._pids: set[int] = set()

    # Life

    @property
    def output(self) -> Path:
        """What ``up`` printed, over all its starts."""
        return self.state / "up.log"

    def launch(self) -> subprocess.Popen[bytes]:
        """Start ``manage.py up``; returns at once."""
        with self.output.open("ab") as out:
            self.up = subprocess.Popen(
                [sys.executable, "manage.py", "up"],
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # a Ctrl-C for pytest is not one for us: ``stop`` is
            )
        return self.up

    def start(self) -> None:
        """Start, and wait until the mesh answers and somebody can sign in."""
        self.launch()
        self.until(lambda: self._there("web"), START_S, "the dashboard is up")
        self.until(lambda: self._phase() == "ready", START_S, "the mesh is ready")
        if not self.rows("SELECT 1 FROM auth_user WHERE username = ?", NAME):
            self.manage(
                "createsuperuser", "--noinput", "--username", NAME, "--email", "ada@example.org",
                DJANGO_SUPERUSER_PASSWORD=PASSWORD,
            )  # fmt: skip

    def stop(self, within_s: float = 30.0) -> float:
        """Ctrl-C. Returns the seconds it took; nothing that it started may be left."""
        assert self.up is not None
        self.resume()
        self.pids()
        began = time.monotonic()
        if self.up.poll() is None:
            self.up.send_signal(signal.SIGINT)
        self.up.wait(within_s)
        took = time.monotonic() - began
        left = self.left()
        assert not left, f"left behind: {left}"
        return took

    def destroy(self) -> None:
        """End whatever is there, kindly or not; for the end of a test that may have failed."""
        if self.up is None:
            return
        self.pids()
        if self.up.poll() is None:
            self.resume()
            self.up.send_signal(signal.SIGINT)
            try:
                self.up.wait(20)
            except subprocess.TimeoutExpired:
                self.up.kill()
                self.up.wait()
        for each in self.left():
            each.kill()

    def left(self) -> list[psutil.Process]:
        """Processes of this stack that are still there, by pids we knew and by their folder."""
        deadline = time.monotonic() + 3.0
        while (found := list(self._alive())) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return found

    def _alive(self) -> Iterator[psutil.Process]:
        for pid in self._pids | set(self._by_folder()):
            try:
                each = psutil.Process(pid)
                ours = each.environ().get("MESHUI_STATE") == str(self.state)
                if ours and each.status() != psutil.STATUS_ZOMBIE:
                    yield each
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue

    def _by_folder(self) -> Iterator[int]:
        """Pids whose environment names our folder: children inherit it."""
        mark = f"MESHUI_STATE={self.state}\0".encode()
        for each in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (each / "environ").read_bytes() and int(each.name) != os.getpid():
                    yield int(each.name)
            except (FileNotFoundError, PermissionError, ProcessLookupError):
                continue

    def _there(self, process: str) -> bool:
        assert self.up is not None
        if self.up.poll() is not None:
            raise AssertionError(f"`up` ended with code {self.up.returncode}.\n{self.logs()}")
        return any(p["name"] == process and p["state"] == "running" for p in self.processes())

    def _phase(self) -> str:
        rows = self.rows("SELECT phase FROM rollouts_stack")
        return str(rows[0]["phase"]) if rows else ""

    # Processes

    @property
    def _supervisor(self) -> SupervisorClient:
        return SupervisorClient(self.state / "supervisor.sock", timeout_s=5.0)

    def processes(self) -> list[Row]:
        """The fixed processes; none while the supervisor does not answer."""
        try:
            return self._supervisor.processes()
        except SupervisorUnreachable:
            return []

    def tasks(self, version: str, service: str = SERVICE) -> list[Row]:
        """The tasks of a version, as the supervisor sees them now."""
        found = self.rows(
            "SELECT v.id, v.service_id FROM rollouts_version v JOIN rollouts_service s"
            " ON s.id = v.service_id WHERE s.slug = ? AND v.label = ?", service, version,
        )  # fmt: skip
        if not found:
            return []
        group = f"service-{found[0]['service_id']}"
        tasks = self._supervisor.observe(group)["tasks"]
        return [task for task in tasks if task["set"] == str(found[0]["id"])]

    def envoy(self) -> int:
        """The pid of the Envoy, 0 while there is none."""
        groups = [name for name in self._supervisor.groups() if name.startswith("stack-")]
        tasks = [t for name in groups for t in self._supervisor.observe(name)["tasks"]]
        return next((int(t["pid"]) for t in tasks if t["pid"]), 0)

    def pid(self, process: str) -> int:
        """The pid of a fixed process; waits for one that is being started again."""
        found = {"": 0}

        def there() -> bool:
            found.update({p["name"]: p["pid"] or 0 for p in self.processes()})
            return bool(found.get(process))

        self.until(there, 60, f"{process} lives")
        return found[process]

    def pids(self) -> set[int]:
        """Every pid of this stack now; remembered for the look at what is left."""
        self._pids |= set(self._by_folder())
        return self._pids

    def commands(self) -> list[str]:
        """The command lines of everything of this stack that runs now."""
        return [" ".join(each.cmdline()) for each in self._alive()]

    def kill(self, process: str, signum: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a fixed process; returns the pid it had."""
        pid = self.pid(process)
        os.kill(pid, signum)
        return pid

    def kill_tasks(
        self, version: str, signum: signal.Signals = signal.SIGKILL, service: str = SERVICE
    ) -> None:
        for task in self.tasks(version, service):
            if task["pid"]:
                os.kill(task["pid"], signum)

    def resume(self) -> None:
        """SIGCONT to everything that a test may have paused."""
        for each in list(self._alive()):
            if each.status() == psutil.STATUS_STOPPED:
                each.send_signal(signal.SIGCONT)

    # Doors

    def manage(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env={**self.env, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``manage.py rollout …``"""
        return self.manage("rollout", *words)

    def web_session(self) -> WebSession:
        session = WebSession(self.ports["MESHUI_PORT"])
        session.sign_in(NAME, PASSWORD)
        return session

    def load(self, rps: int = 500, connections: int = 48) -> Load:
        return Load(self.ports["MESHUI_PUBLIC_PORT"], rps, connections)

    def deploy(self, who: WebSession, version: str, plan: str) -> int:
        """Start a rollout through the deploy page; returns its number."""
        page = who.post(
            f"/services/{SERVICE}/deploy/",
            version=str(self.version(version)["number"]),
            strategy="custom",
            steps=plan,
        )
        assert page.status == 302, f"not deployed: {page.status} {page.body[-3000:]}"
        return int(page.location.strip("/").split("/")[-1])

    def add_version(self, who: WebSession, label: str, command: str = "", **extra: str) -> None:
        """Add a version like 1.0, with more environment, or with another command."""
        like = self.version("1.0")
        environment = {**json.loads(like["environment"]), **extra}
        page = who.post(
            f"/services/{SERVICE}/versions/add/",
            label=label,
            command=command or like["command"],
            environment="\n".join(f"{name}={value}" for name, value in environment.items()),
        )
        assert page.status == 302, f"not added: {page.status} {page.body[-3000:]}"

    def answer(self) -> str:
        """What the public endpoint says now; "" unless it is a 200."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.ports["MESHUI_PUBLIC_PORT"], timeout=5
        )
        try:
            connection.request("GET", "/?name=Ada")
            answer = connection.getresponse()
            return answer.read().decode() if answer.status == 200 else ""
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            connection.close()

    def answers(self) -> bool:
        return bool(self.answer())

    def hear(self, version: str) -> None:
        """Ask the public endpoint until this version answers."""
        self.until(lambda: f"Version {version})" in self.answer(), 20, f"{version} answers")

    # Waiting

    def until(self, holds: Callable[[], object], within_s: float, what: str) -> float:
        """Wait for a condition; returns the seconds. Fails with every log when it is too late."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > within_s:
                raise AssertionError(f"not within {within_s:g} s: {what}\n{self.logs()}")
            time.sleep(POLL_S)
        return time.monotonic() - began

    def until_rollout(self, number: int, within_s: float = 30.0, **columns: object) -> float:
        """Wait until the columns of a rollout are these."""

        def holds() -> bool:
            row = self.rollout(number)
            return all(row[name] == value for name, value in columns.items())

        return self.until(holds, within_s, f"rollout {number} is at {columns}")

    def rest(self) -> None:
        """Back to where every test begins: 0.9 stable at 100 %, no live rollout, all alive."""
        self.resume()
        names = [p["name"] for p in self.processes() if p["state"] != "ended"]
        for name in ("broker", "controlplane", "worker", "beat", "sampler", "web"):
            assert name in names, f"{name} has never been started"
            self.until(lambda n=name: self._there(n), 30, f"{name} is running")  # type: ignore[misc]
        self.write("UPDATE rollouts_service SET start_deadline_s = 600, automatic_deploys = 1")
        live = self.rows("SELECT id FROM rollouts_rollout WHERE finished_at IS NULL")
        if live:
            who = self.web_session()
            for row in live:
                who.post(f"/rollouts/{row['id']}/rollback/", reason="the next test begins")
            self.until(self._no_live_rollout, 40, "no rollout is live")
        stable = self.service()["stable_id"]
        if stable != self.version("0.9")["id"]:
            number = self.version("0.9")["number"]
            self.web_session().post(f"/services/{SERVICE}/versions/{number}/return/")
            self.until(lambda: self.service()["stable_id"] != stable, 40, "0.9 is stable again")
        self.until(self._at_rest, 40, "0.9 serves 100 %, confirmed, with both tasks healthy")

    def _no_live_rollout(self) -> bool:
        return not self.rows("SELECT 1 FROM rollouts_rollout WHERE finished_at IS NULL")

    def _at_rest(self) -> bool:
        healthy = sum(t["healthy"] for t in self.tasks("0.9"))
        return (
            self._no_live_rollout()
            and self.weights() == {"0.9": 100}
            and self.settled()
            and healthy == self.service()["tasks"]
        )

    def logs(self, lines: int = 25) -> str:
        """The last lines of every log, for a failure that a person has to understand."""
        parts = []
        for path in (self.output, *sorted((self.state / "log").rglob("*.log"))):
            if path.exists() and path.stat().st_size:
                tail = path.read_text("utf-8", "replace").splitlines()[-lines:]
                parts.append(f"=== {path.name}\n" + "\n".join(tail))
        events = self.rows("SELECT at, actor, verb, text, reason FROM rollouts_event ORDER BY id")
        told = [" | ".join(str(v) for v in row.values()) for row in events[-lines:]]
        return "\n".join([*parts, "=== events", *told])


@contextmanager
def running(state: Path, **environment: str) -> Iterator[Stack]:
    """A stack that is ready, and surely gone afterwards."""
    stack = Stack(state, **environment)
    try:
        stack.start()
        yield stack
    finally:
        stack.destroy()
