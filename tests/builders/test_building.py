"""Builds that stream: one worker, its lease, cancelling, the log, and what is left when it dies."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing

import pytest
from django.conf import settings as django_settings

from meshui.celery import app
from rollouts import building, clock, tasks
from rollouts.builders import base
from rollouts.builders.base import BuildProgress
from rollouts.errors import BuildError
from rollouts.management.commands import up
from rollouts.models import Build, Event, Version
from tests.builders.conftest import log_of
from tests.builders.puppet import IMAGE, Puppet

DONE = BuildProgress("succeeded", ["Pushed."], image=IMAGE)


def says(*lines):
    return BuildProgress("building", lines)


@pytest.fixture
def puppet(monkeypatch):
    monkeypatch.setitem(base.REGISTRY, "docker", "tests.builders.puppet.Puppet")
    monkeypatch.setattr(Puppet, "steps", [])
    monkeypatch.setattr(Puppet, "closed", False)
    return Puppet


@pytest.fixture
def build(puppet, request_):
    return request_("docker", "2.0")


def run(build):
    building.run(build.pk, clock.moment)
    build.refresh_from_db()
    return build


def test_a_build_becomes_a_version_by_its_digest(puppet, build, service):
    puppet.steps = [says("Step 1"), BuildProgress("pushing", ["Pushing."]), DONE]
    run(build)
    version = service.versions.get()
    assert (build.phase, build.version, version.image) == ("succeeded", version, IMAGE)
    assert version.digest == "sha256:" + "cd" * 32
    assert log_of(build) == ["Step 1", "Pushing.", "Pushed."]
    assert (build.lease_until, build.wake_at, build.archive) == (None, None, None)


def test_lines_are_there_while_it_still_builds(puppet, build):
    seen = []
    puppet.steps = [says("Step 1"), lambda: seen.append((log_of(build), _phase(build))), DONE]
    run(build)
    assert seen == [(["Step 1"], "building")]


def _phase(build):
    return Build.objects.get(pk=build.pk).phase


def test_a_failure_is_kept_with_its_reason_and_told(puppet, build):
    puppet.steps = [says("Step 1"), BuildError("The command returned: 1", permanent=True)]
    run(build)
    assert (build.phase, build.reason) == ("failed", "The command returned: 1")
    assert Event.objects.get(verb="build-failed").severity == "error"


def test_cancelling_in_the_middle_closes_the_stream(puppet, build):
    def cancel():
        Build.objects.update(cancelled=True)

    puppet.steps = [says("Step 1"), cancel, says("Step 2"), DONE]
    run(build)
    assert (build.phase, puppet.closed, build.version) == ("cancelled", True, None)
    assert log_of(build) == ["Step 1", "Step 2"]


def test_a_wish_to_cancel_that_comes_after_the_push_is_too_late(puppet, build):
    puppet.steps = [lambda: Build.objects.update(cancelled=True) and None, DONE]
    assert run(build).phase == "succeeded"


def test_only_one_worker_builds(puppet, build):
    puppet.steps = [lambda: building.run(build.pk, clock.moment), DONE]
    run(build)
    assert log_of(build) == ["Pushed."]


def test_a_message_that_comes_again_does_nothing(puppet, build, service):
    puppet.steps = [DONE]
    run(build)
    run(build)
    assert service.versions.count() == 1


def test_a_build_that_was_cancelled_before_it_began_never_begins(puppet, build, later):
    Build.objects.update(cancelled=True)
    run(build)
    assert not puppet.closed
    assert building.waiting(later()) == []
    building.tick_due(later())
    assert _phase(build) == "cancelled"


def test_a_dead_workers_build_fails_once_its_lease_is_over(puppet, build, later):
    class Killed(BaseException):
        pass

    def die():
        raise Killed

    puppet.steps = [says("Step 1"), die]
    with pytest.raises(Killed):
        run(build)
    building.tick_due(later(5))
    assert _phase(build) == "building"
    building.tick_due(later(20))
    build.refresh_from_db()
    assert (build.phase, build.lease_until) == ("failed", None)
    assert build.reason == "The worker that built it ended. Ask for the build again."
    assert log_of(build) == ["Step 1"]


def test_a_worker_that_was_given_up_stops_and_writes_nothing(puppet, build, service, later):
    puppet.steps = [says("Step 1"), lambda: building.tick_due(later(60)) and None, DONE]
    run(build)
    assert (build.phase, puppet.closed) == ("failed", True)
    assert not service.versions.exists()
    assert log_of(build) == ["Step 1"]


def test_a_label_that_was_taken_meanwhile_makes_no_version(puppet, build, service):
    def take():
        Version.objects.add(service, label="2.0", digest="sha256:x", image="x")

    puppet.steps = [take, DONE]
    run(build)
    assert build.phase == "failed"
    assert "add it under another label" in build.reason
    assert (build.image, service.versions.count()) == (IMAGE, 1)


def test_colours_and_invisible_characters_are_not_kept(puppet, build):
    puppet.steps = [says("\x1b[31mred\x1b[0m", "10 %\r100 %", "a\x00b", "tab\tbed"), DONE]
    assert log_of(run(build))[:4] == ["red", "100 %", "ab", "tab\tbed"]


def test_a_reason_is_cleaned_as_its_log_is(puppet, build):
    puppet.steps = [BuildError("\x1b[31mno\x00\x1b[0m" + "x" * 5000, permanent=True)]
    assert run(build).reason == "no" + "x" * 998 + "…"


def test_a_log_does_not_grow_for_ever(puppet, build, monkeypatch):
    monkeypatch.setattr(building, "MOST_LINES", 5)
    puppet.steps = [says(*"abc"), says(*"defg"), says(*"hij"), DONE]
    log = log_of(run(build))
    assert log == [*"abcde", "… the log is longer than what is kept."]


def test_a_tick_asks_a_worker_of_the_queue_build_until_one_takes_it(puppet, build):
    with app.connection_for_write() as broker, closing(broker.SimpleQueue("build")) as queue:
        queue.clear()
        tasks.tick()
        message = queue.get(timeout=5)
        assert (message.headers["task"], message.payload[0]) == ("rollouts.build", [build.pk])
        message.ack()
        puppet.steps = [DONE]
        tasks.build(*message.payload[0])
        tasks.tick()
        assert queue.qsize() == 0
    assert _phase(build) == "succeeded"


def test_up_starts_a_build_worker_only_beside_an_engine(settings):
    settings.DOCKER_HOST = ""
    assert "build" not in [process.name for process in up.processes()]
    settings.DOCKER_HOST = "unix:///var/run/docker.sock"
    (found,) = [process for process in up.processes() if process.name == "build"]
    assert found.argv[found.argv.index("-Q") + 1] == "build"
    (worker,) = [process for process in up.processes() if process.name == "worker"]
    assert "-Q" not in worker.argv


def test_the_web_process_never_loads_the_client_of_an_engine():
    code = (
        "import sys, django; django.setup(); import meshui.urls, rollouts.web.urls;"
        "from rollouts.builders import base; base.builder('existing'); base.streamer('docker');"
        "sys.exit('docker' in sys.modules or 'rollouts.builders.engine' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=django_settings.BASE_DIR, check=False)
    assert done.returncode == 0
