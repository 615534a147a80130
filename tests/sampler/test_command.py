"""``manage.py sampler`` as the supervisor runs it: a process, a database in a file, signals."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from tests.sampler.servers import always, answer, serving

ROOT = Path(__file__).parents[2]
SAYS_1 = answer("(Version 1.0)")
MAKE = """
from django.core.management import call_command
from rollouts.models import Mesh, Service, Version
call_command("migrate", verbosity=0)
mesh = Mesh.objects.create(slug="local", name="L")
service = Service.objects.create(mesh=mesh, slug="echo", name="echo.local", sample_path="/")
Version.objects.create(service=service, number=1, label="1.0", digest="x")
"""


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
        "MESHUI_STATE": str(folder),
        "BROKER_URL": "redis://127.0.0.1:1/0",
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made: Path = tmp_path_factory.mktemp("sampler")
    command = [sys.executable, "manage.py", "shell", "--no-imports", "-c", MAKE]
    subprocess.run(command, cwd=ROOT, env=environment(made), check=True, timeout=90)
    return made


class Database:
    """The file that the process uses."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "db.sqlite3"

    def run(self, sql: str, *values: object) -> list[tuple[int, ...]]:
        with closing(sqlite3.connect(self._path, timeout=10)) as connection, connection:
            return list(connection.execute(sql, values))

    def stored(self) -> int:
        return self.run("SELECT coalesce(sum(requests), 0) FROM rollouts_trafficbucket")[0][0]

    def lock(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=10, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        return connection


@pytest.fixture
def database(folder: Path) -> Database:
    made = Database(folder)
    made.run("DELETE FROM rollouts_trafficbucket")
    made.run("UPDATE rollouts_service SET sample_rate = 20")
    return made


@asynccontextmanager
async def sampling(folder: Path, respond=None):
    """The process, asking a server that answers."""
    async with serving(respond or always(SAYS_1)) as port:
        url = f"http://127.0.0.1:{port}"
        Database(folder).run("UPDATE rollouts_mesh SET public_url = ?", url)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "manage.py", "sampler"),
            cwd=ROOT,
            env=environment(folder),
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            _, said = await process.communicate()
            sys.stderr.write(said.decode())  # shown when the test fails


async def until(holds, deadline_s=60.0):
    async with asyncio.timeout(deadline_s):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def stretch() -> float:
    """How many times longer everything takes on this machine just now; 1 when it is free."""
    began, cpu = time.monotonic(), time.thread_time()
    while time.thread_time() - cpu < 0.05:
        pass
    return max(1.0, (time.monotonic() - began) / 0.05)


async def end(process) -> tuple[int, float, str]:
    """Ask it to end: its code, the seconds that took on a free machine, and what it said."""
    loop = asyncio.get_running_loop()
    slower = await asyncio.to_thread(stretch)
    began = loop.time()
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(20):
        _, said = await process.communicate()
    seconds = loop.time() - began
    slower = max(slower, await asyncio.to_thread(stretch))
    return process.returncode, seconds / slower, said.decode()


async def test_it_ends_within_a_second_of_sigterm_with_code_0(folder, database):
    async with sampling(folder) as process:
        await until(lambda: database.stored() > 20)
        code, seconds, said = await end(process)
    assert (code, said) == (0, "")
    assert seconds < 1


async def test_it_stores_what_it_asked_until_the_end(folder, database):
    asked = 0

    async def respond(reader, writer):
        nonlocal asked
        asked += 1
        writer.write(SAYS_1)

    async with sampling(folder, respond) as process:
        await until(lambda: asked > 30)
        _, _, said = await end(process)
    assert said == ""
    assert database.stored() == asked


async def test_a_locked_database_does_not_hold_up_the_end(folder, database):
    async with sampling(folder) as process:
        await until(lambda: database.stored() > 0)
        with closing(database.lock()):
            said = await asyncio.wait_for(process.stderr.readline(), 30)
            code, seconds, more = await end(process)
    assert b"database is locked" in said
    assert "requests that could not be stored" in more
    assert code == 0
    assert seconds < 1


async def test_a_lock_of_some_seconds_loses_no_request(folder, database):
    asked = 0

    async def respond(reader, writer):
        nonlocal asked
        asked += 1
        writer.write(SAYS_1)

    async with sampling(folder, respond) as process:
        await until(lambda: database.stored() > 0)
        with closing(database.lock()):
            await process.stderr.readline()
            before = asked
            await until(lambda: asked > before + 40)
        assert b"The database is back." in await process.stderr.readline()
        await end(process)
    assert database.stored() == asked


async def test_a_pattern_that_never_ends_does_not_stop_it(folder, database):
    database.run("UPDATE rollouts_service SET sample_pattern = '(a+)+$'")
    try:
        async with sampling(folder, always(answer("a" * 40 + "b"))) as process:
            await until(lambda: database.stored() > 20)
            code, _, said = await end(process)
    finally:
        database.run(r"UPDATE rollouts_service SET sample_pattern = 'Version ([^)\s]+)\)'")
    assert (code, said) == (0, "")


async def test_an_error_that_nobody_foresaw_ends_it_with_code_1(folder, database):
    database.run("ALTER TABLE rollouts_service RENAME COLUMN timeout_s TO was_timeout_s")
    database.run("ALTER TABLE rollouts_service ADD COLUMN timeout_s TEXT DEFAULT 'soon'")
    try:
        async with sampling(folder) as process:
            _, said = await asyncio.wait_for(process.communicate(), 60)
    finally:
        database.run("ALTER TABLE rollouts_service DROP COLUMN timeout_s")
        database.run("ALTER TABLE rollouts_service RENAME COLUMN was_timeout_s TO timeout_s")
    assert process.returncode == 1
    assert b"Traceback" in said
