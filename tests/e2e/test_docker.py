"""A real Docker engine builds what the dashboard asks for, pushes it, and the image really runs.

The web client is Django's, the build is the task of the queue ``build``, run in this process.
"""

from __future__ import annotations

import io
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from django.db import connection
from django.test import Client

from protos import echo_pb2, echo_pb2_grpc
from rollouts import building, clock, tasks
from rollouts.models import Build, Mesh, Service, Stack
from tests.conftest import person
from tests.e2e import stack as stacks
from tests.e2e.docker_engine import BASE, Engine, engine
from tests.ports import free_port

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
ADD = "/services/echo-server/builds/add/"
NAME = "shop/echo_server"
ANSWERS_S = 30.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine(tmp_path_factory.mktemp("docker")) as made:
        yield made


@pytest.fixture
def service(transactional_db: None, running: Engine, settings: Any, tmp_path: Path) -> Service:
    settings.DOCKER_HOST, settings.REGISTRY = running.host, running.registry
    settings.BUILD_BASE_IMAGE, settings.BUILD_MEMORY_MB = BASE, 512
    settings.STATIC_ROOT = tmp_path
    mesh = Mesh.objects.create(
        slug="shop", name="shop", platform="ecs", settings={"region": "eu-west-1"}
    )
    host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    outputs = {"EchoServerRepository": f"{host}/{NAME}"}
    Stack.objects.create(mesh=mesh, name="infra", kind="cloudformation", outputs=outputs)
    return Service.objects.create(mesh=mesh, slug="echo-server", name="echo_server.shop.local")


@pytest.fixture
def operator(client: Client, service: Service) -> Client:
    client.force_login(person("operator", "operate_service"))
    return client


def ask(operator: Client, label: str, **fields: Any) -> Build:
    answer = operator.post(ADD, {"kind": "docker", "label": label, "context": "sample"} | fields)
    assert answer.status_code == 302, answer.content.decode()
    return Build.objects.get(label=label)


def built(operator: Client, label: str, **fields: Any) -> Build:
    """Asked for in the dashboard, built by the task."""
    build = ask(operator, label, **fields)
    assert building.waiting(clock.moment()) == [build.pk]
    tasks.build(build.pk)
    build.refresh_from_db()
    return build


def upload(recipe: str) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as made:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(recipe)
        made.addfile(entry, io.BytesIO(recipe.encode()))
    out.seek(0)
    out.name = "context.tar.gz"
    return out


def page(operator: Client, build: Build) -> str:
    return operator.get(build.get_absolute_url()).content.decode()


def test_the_sample_is_built_pushed_and_answers_with_its_version(
    operator: Client, service: Service, running: Engine
) -> None:
    build = built(operator, "1.1")
    assert build.phase == "succeeded", build.reason
    version = service.versions.get()
    assert (version.label, version.digest) == ("1.1", build.digest)
    assert version.image == f"{running.registry}/{NAME}@{build.digest}"
    assert _pushed(running, "1.1") == build.digest
    assert "Deploy 1.1" in page(operator, build)
    assert "Version 1.1" in _said_by(running, version.image)


def _pushed(running: Engine, tag: str) -> str:
    """The digest of the tag, as the registry itself says it."""
    accept = "application/vnd.docker.distribution.manifest.v2+json"
    address = f"http://{running.registry}/v2/{NAME}/manifests/{tag}"
    answer = requests.head(address, headers={"Accept": accept}, timeout=5)
    return answer.headers["Docker-Content-Digest"]


def _said_by(running: Engine, image: str) -> str:
    """Pull the image by its digest, run it read-only as ECS does, and greet it."""
    port = free_port()
    repository, digest = image.split("@")
    with closing(running.client()) as client:
        client.pull(repository, tag=digest)
        limits = client.create_host_config(network_mode="host", read_only=True)
        environment = {"PORT": str(port), "HOST": "127.0.0.1"}
        task = client.create_container(image, environment=environment, host_config=limits)
        client.start(task)
        try:
            return _greeted(port)
        finally:
            client.remove_container(task, force=True)


def _greeted(port: int) -> str:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(ANSWERS_S)
        stub = echo_pb2_grpc.EchoServiceStub(channel)
        answer = stub.Echo(echo_pb2.EchoRequest(name="Ada"), timeout=5)
    return str(answer)


def test_a_step_that_fails_is_an_error_with_its_log_on_the_page(
    operator: Client, service: Service
) -> None:
    recipe = f"FROM {BASE}\nRUN echo before && python -c 'raise SystemExit(7)'\n"
    build = built(operator, "bad", context="upload", archive=upload(recipe))
    assert build.phase == "failed"
    assert "returned a non-zero code: 7" in build.reason
    shown = page(operator, build)
    assert "returned a non-zero code: 7" in shown
    assert ">before<" in shown
    assert not service.versions.exists()


def test_a_base_image_that_is_not_there_is_an_error(operator: Client) -> None:
    build = built(
        operator, "nobase", context="upload", archive=upload("FROM 127.0.0.1:1/nothing:1\n")
    )
    assert build.phase == "failed"
    assert "127.0.0.1:1" in build.reason


def test_a_push_to_a_dead_registry_is_an_error(
    operator: Client, service: Service, settings: Any
) -> None:
    settings.REGISTRY = f"127.0.0.1:{free_port()}"
    build = built(operator, "1.2", context="upload", archive=upload(f"FROM {BASE}\n"))
    assert build.phase == "failed"
    assert settings.REGISTRY in build.reason
    assert "refused" in build.reason
    assert not service.versions.exists()


def test_an_engine_that_is_not_there_is_an_error(operator: Client, settings: Any) -> None:
    settings.DOCKER_HOST = "unix:///nowhere/docker.sock"
    build = built(operator, "1.3")
    assert build.phase == "failed"
    assert build.reason.startswith("The Docker engine cannot be used")


def test_cancelling_ends_a_step_that_says_nothing(
    operator: Client, service: Service, running: Engine
) -> None:
    recipe = f"FROM {BASE}\nRUN python -c 'import time; time.sleep(250)'\n"
    build = ask(operator, "slow", context="upload", archive=upload(recipe))
    thread = threading.Thread(target=_in_thread, args=(build.pk,))
    thread.start()
    _until(lambda: build.lines.filter(text__contains="Running in").exists(), 30)
    began = time.monotonic()
    assert operator.post(f"/builds/{build.pk}/cancel/").status_code == 302
    thread.join(20)
    assert time.monotonic() - began < 10
    build.refresh_from_db()
    assert (build.phase, service.versions.count()) == ("cancelled", 0)
    with closing(running.client()) as client:
        _until(lambda: not client.containers(), 20)


def _in_thread(pk: int) -> None:
    try:
        tasks.build(pk)
    finally:
        connection.close()


def _until(holds: Callable[[], object], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_build_that_takes_too_long_is_ended(operator: Client, settings: Any) -> None:
    settings.BUILD_SECONDS = 2
    recipe = f"FROM {BASE}\nRUN python -c 'import time; time.sleep(250)'\n"
    build = built(operator, "late", context="upload", archive=upload(recipe))
    assert (build.phase, build.reason) == ("failed", "The build took longer than 2 s.")


def test_a_step_that_wants_too_much_memory_is_killed(operator: Client, settings: Any) -> None:
    settings.BUILD_MEMORY_MB = 64
    recipe = f"FROM {BASE}\nRUN python -c 'len(bytearray(10**9))'\n"
    build = built(operator, "huge", context="upload", archive=upload(recipe))
    assert build.phase == "failed"
    assert "non-zero code" in build.reason


MESH = """
from rollouts.models import Mesh, Service, Stack
mesh = Mesh.objects.create(slug="shop", name="shop", platform="ecs")
host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
Stack.objects.create(mesh=mesh, name="infra", kind="cloudformation",
                     outputs={"EchoServerRepository": host + "/shop/echo_server"})
Service.objects.create(mesh=mesh, slug="echo-aws", name="echo_server.shop.local")
"""
SLOW = """
from django.utils import timezone
from rollouts.models import Build, Service
from tests.e2e.test_docker import BASE, upload
recipe = "FROM " + BASE + "\\nRUN python -c 'import time; time.sleep(250)'\\n"
Build.objects.create(
    service=Service.objects.get(slug="echo-aws"), kind="docker", label="1.2",
    source={"context": "upload"}, archive=upload(recipe).getvalue(),
    created_at=timezone.now(), wake_at=timezone.now(),
)
"""


@pytest.mark.stack
def test_up_builds_in_a_worker_of_its_own_and_notices_its_death(
    running: Engine, tmp_path: Path
) -> None:
    engine_of = {
        "MESHUI_DOCKER_HOST": running.host,
        "MESHUI_REGISTRY": running.registry,
        "MESHUI_BUILD_BASE_IMAGE": BASE,
    }
    with stacks.running(tmp_path / "up", **engine_of) as up:
        assert up.manage("shell", "-c", MESH).returncode == 0
        who = up.web_session()
        add = "/services/echo-aws/builds/add/"
        asked = who.post(add, kind="docker", label="2.0", context="sample")
        assert asked.status == 302, asked.body
        up.until(lambda: _phase(up, "2.0") == "succeeded", 60, "the image is there")
        assert "Deploy 2.0" in who.get(asked.location).body
        assert up.version("2.0", "echo-aws")["digest"] == _pushed(running, "2.0")

        assert up.manage("shell", "-c", SLOW).returncode == 0
        up.until(lambda: _phase(up, "1.2") == "building", 30, "the worker has the next one")
        up.kill("build")
        up.until(lambda: _phase(up, "1.2") == "failed", 40, "its death is noticed")
        (row,) = up.rows("SELECT reason FROM rollouts_build WHERE label = '1.2'")
        assert row["reason"].startswith("The worker that built it ended.")
        up.stop()


def _phase(up: stacks.Stack, label: str) -> str:
    found = up.rows("SELECT phase FROM rollouts_build WHERE label = ?", label)
    return str(found[0]["phase"]) if found else ""
