"""CodeBuild, against the fake AWS: one build for one wish, its log once, its end as it was."""

from __future__ import annotations

import pytest

from rollouts import building
from rollouts.builders.repository import image, repository
from rollouts.errors import ActionRefused
from tests.builders.conftest import PROJECT, URI, log_of

CODE = {"location": "https://github.com/team/echo", "ref": "v2"}


@pytest.fixture
def build(fake, request_):
    return request_("codebuild", "2.0", **CODE)


def started(fake):
    return [each for each in fake.calls() if each["operation"] == "StartBuild"]


def test_it_builds_pushes_and_becomes_a_version(fake, service, build, ticks):
    build = ticks(build)
    assert build.phase == "succeeded", build.reason
    digest = image(repository(service), tag="2.0").digest
    assert build.version.image == f"{URI}@{digest}"
    assert len(started(fake)) == 1


def test_each_line_of_the_log_is_kept_once_and_in_order(build, ticks):
    log = log_of(ticks(build))
    assert "[Container] Cloning https://github.com/team/echo at v2" in log
    steps = [line for line in log if "] Step" in line]
    assert [line.split()[2] for line in steps] == [f"{n}/5" for n in range(1, 6)]
    assert log.count("Phase BUILD: SUCCEEDED") == 1
    assert list(build.lines.values_list("number", flat=True)) == list(range(1, len(log) + 1))


def test_a_worker_that_died_after_the_call_repeats_it_with_the_same_token(
    fake, build, ticks, later
):
    building.tick_due(later())
    build.refresh_from_db()
    token = build.operation["token"]
    type(build).objects.filter(pk=build.pk).update(operation={"token": token})  # the id was lost
    assert ticks(build).phase == "succeeded"
    ids = {line for line in log_of(build) if line.startswith("CodeBuild started")}
    assert len(ids) == 1


def test_a_call_that_took_effect_without_an_answer_starts_one_build(fake, build, ticks):
    fake.inject("codebuild", "StartBuild", error="timeout-after", times=1, seconds=0.1)
    assert ticks(build).phase == "succeeded"
    assert len({line for line in log_of(build) if line.startswith("CodeBuild started")}) == 1


def test_a_build_that_fails_says_in_which_phase_and_why(fake, build, ticks):
    fake.fail_build(PROJECT, "PRE_BUILD")
    build = ticks(build)
    assert build.phase == "failed"
    assert build.reason.startswith(
        "The build failed in the phase PRE_BUILD: COMMAND_EXECUTION_ERROR"
    )
    assert build.version is None
    assert "Phase PRE_BUILD: FAILED" in log_of(build)


def test_a_tag_that_is_taken_in_the_repository_fails(fake, request_, ticks):
    build = ticks(request_("codebuild", "1.0", **CODE))
    assert build.phase == "failed"
    assert any("already exists" in line for line in log_of(build))


def test_cancelling_stops_it_in_aws(fake, build, ticks, later):
    fake.speeds(task=60.0)
    building.tick_due(later())
    type(build).objects.filter(pk=build.pk).update(cancelled=True)
    assert ticks(build).phase == "cancelled"
    assert [c["operation"] for c in fake.calls() if c["operation"] == "StopBuild"] == ["StopBuild"]
    assert not build.service.versions.exists()


def test_throttling_only_makes_it_slower(fake, build, ticks):
    fake.inject("codebuild", "*", error="ThrottlingException", times=3)
    assert ticks(build).phase == "succeeded"
    assert len({line for line in log_of(build) if line.startswith("CodeBuild started")}) == 1


def test_a_log_that_cannot_be_read_does_not_fail_the_build(fake, build, ticks):
    fake.inject("logs", "*", error="AccessDeniedException", times=None)
    build = ticks(build)
    assert build.phase == "succeeded"
    assert any(line.startswith("The log cannot be read") for line in log_of(build))


def test_a_step_costs_at_most_three_calls(fake, build, ticks, later):
    ticks(build, "building")
    fake.calls_reset()
    building.tick_due(later(100))
    assert len(fake.calls()) <= 3


def test_without_a_project_it_is_refused_in_a_sentence(fake, service, request_):
    service.mesh.stacks.update(outputs={"EchoServerRepository": URI})
    with pytest.raises(ActionRefused, match="has no CodeBuild project: update its stack infra"):
        request_("codebuild", "2.0", **CODE)
