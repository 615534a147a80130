"""The builder on AWS: CodeBuild takes a repository of code, builds it and pushes the image.

The project comes with the stack ``infra`` (output ImageBuilder); it is told the repository and the
tag as variables. Its log is read from CloudWatch Logs by a cursor that is kept with the build.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from rollouts import aws
from rollouts.aws import Account
from rollouts.builders.base import BuildProgress
from rollouts.builders.context import dockerfile_path
from rollouts.builders.repository import image, repository, tag_of
from rollouts.errors import AwsError, AwsGone, BuildError, InvalidInput
from rollouts.models import Build, Service

PROJECT = "ImageBuilder"
HOSTS = {"github.com": "GITHUB", "gitlab.com": "GITLAB", "bitbucket.org": "BITBUCKET"}
AGAIN_S = 2.0
LOG_LINES = 1000  # at a time
LOG_PAGES = 20  # in the last step, which takes what is left
FAILED = {
    "FAILED": "The build failed",
    "FAULT": "CodeBuild had a fault",
    "TIMED_OUT": "The build took longer than its project allows",
    "STOPPED": "The build was stopped in AWS",
}
_LOCATION = re.compile(r"https://[A-Za-z0-9.-]+(/[A-Za-z0-9._-]+){2,6}", re.A)
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}", re.A)


class CodeBuildBuilder:
    """``source``: {"location": https://…, "ref": branch, tag or commit, "dockerfile": path}."""

    def check(self, service: Service, source: Mapping[str, Any], archive: bytes | None) -> None:
        location, ref = str(source.get("location", "")), str(source.get("ref", ""))
        if not _LOCATION.fullmatch(location) or _host(location) not in HOSTS or ".." in location:
            raise InvalidInput("location", f"Use an address as in https://github.com/team/echo. "
                               f"CodeBuild reads from {', '.join(HOSTS)}.")  # fmt: skip
        if ref and (not _REF.fullmatch(ref) or ".." in ref):
            raise InvalidInput("ref", "Name a branch, a tag or a commit.")
        dockerfile_path(str(source.get("dockerfile") or "Dockerfile"))
        repository(service)
        _project(service)

    def advance(self, build: Build) -> BuildProgress:
        if not build.operation.get("token"):
            # Stored before the call: a worker that dies after it repeats the same call. CodeBuild
            # knows a token for five minutes; a second build later could not push the same tag.
            return BuildProgress("building", operation={"token": uuid4().hex}, again_s=0.0)
        if not build.operation.get("id"):
            return _start(build)
        return _look(build)

    def cancel(self, build: Build) -> None:
        if build.operation.get("token") and not build.operation.get("id"):
            # The call may have been made by a worker that died: the token finds the same build.
            build.operation = dict(_start(build).operation or {})
        if build.operation.get("id"):
            account = aws.account_of(build.service.mesh.settings)
            aws.call(account, "codebuild", "stop_build", id=build.operation["id"])


def _host(location: str) -> str:
    return urlsplit(location).hostname or ""


def _project(service: Service) -> str:
    project = service.mesh.outputs().get(PROJECT, "")
    if not project:
        raise BuildError(
            f"{service.mesh.slug} has no CodeBuild project: update its stack infra, which has the "
            f"output {PROJECT}.", permanent=True,
        )  # fmt: skip
    return project


def _start(build: Build) -> BuildProgress:
    held, source = repository(build.service), build.source
    told = {
        "REPOSITORY": held.uri,
        "TAG": tag_of(build),
        "DOCKERFILE": dockerfile_path(str(source.get("dockerfile") or "Dockerfile")),
        "CONTEXT": ".",
    }
    version = {"sourceVersion": source["ref"]} if source.get("ref") else {}
    started = aws.call(
        held.account, "codebuild", "start_build",
        projectName=_project(build.service),
        idempotencyToken=build.operation["token"],
        sourceTypeOverride=HOSTS[_host(str(source["location"]))],
        sourceLocationOverride=source["location"],
        environmentVariablesOverride=[
            {"name": name, "value": value, "type": "PLAINTEXT"} for name, value in told.items()
        ],
        **version,
    )["build"]  # fmt: skip
    lines = [f"CodeBuild started {started['id']}."]
    return BuildProgress("building", lines, operation=build.operation | {"id": started["id"]})


def _look(build: Build) -> BuildProgress:
    """Where CodeBuild is, with new lines of its log and each phase that ended since."""
    account = aws.account_of(build.service.mesh.settings)
    found = aws.call(account, "codebuild", "batch_get_builds", ids=[build.operation["id"]])
    if not found.get("builds"):
        raise BuildError("CodeBuild does not know this build any more.", permanent=True)
    now = found["builds"][0]
    status = str(now.get("buildStatus", "IN_PROGRESS"))
    done = status != "IN_PROGRESS"
    lines, cursor = _log(account, now, str(build.operation.get("cursor", "")), whole=done)
    phases = _ended(now)
    known = int(build.operation.get("phases", 0))
    lines = [*lines, *phases[known:]]
    operation = build.operation | {"cursor": cursor, "phases": len(phases)}
    if not done:
        return BuildProgress("building", lines, operation=operation, again_s=AGAIN_S)
    if status != "SUCCEEDED":
        return BuildProgress("failed", lines, reason=_why(now, status), operation=operation)
    return _pushed(build, lines, operation)


def _log(
    account: Account, now: Mapping[str, Any], cursor: str, *, whole: bool
) -> tuple[list[str], str]:
    """New lines and the next cursor. A log that cannot be read is said in a line, not an error."""
    place = now.get("logs") or {}
    group, stream = place.get("groupName"), place.get("streamName")
    lines: list[str] = []
    if not group or not stream:
        return lines, cursor
    for _ in range(LOG_PAGES if whole else 1):
        after = {"nextToken": cursor} if cursor else {}
        try:
            told = aws.call(account, "logs", "get_log_events", logGroupName=group,
                            logStreamName=stream, startFromHead=True, limit=LOG_LINES,
                            **after)  # fmt: skip
        except AwsGone:
            return lines, cursor  # the stream begins with the first line
        except AwsError as error:
            return [*lines, f"The log cannot be read: {error}"] if whole else lines, cursor
        lines += [str(event["message"]).rstrip("\n") for event in told["events"]]
        before, cursor = cursor, str(told.get("nextForwardToken") or cursor)
        if before == cursor:  # the same cursor again: that was all
            break
    return lines, cursor


def _ended(now: Mapping[str, Any]) -> list[str]:
    """One line for each phase that has ended."""
    return [
        f"Phase {phase['phaseType']}: {phase['phaseStatus']}"
        for phase in now.get("phases") or ()
        if phase.get("phaseStatus") and phase["phaseStatus"] != "IN_PROGRESS"
    ]


def _why(now: Mapping[str, Any], status: str) -> str:
    """What failed, in CodeBuild's own words."""
    words = FAILED.get(status, f"CodeBuild ended with {status}")
    for phase in now.get("phases") or ():
        if phase.get("phaseStatus") not in (None, "SUCCEEDED", "IN_PROGRESS"):
            said = _messages(phase.get("contexts") or ())
            return f"{words} in the phase {phase['phaseType']}{f': {said}' if said else '.'}"
    return f"{words}."


def _messages(contexts: Sequence[Mapping[str, Any]]) -> str:
    return " ".join(
        part
        for context in contexts
        for part in (str(context.get("statusCode") or ""), str(context.get("message") or ""))
        if part
    )


def _pushed(build: Build, lines: list[str], operation: Mapping[str, Any]) -> BuildProgress:
    held = repository(build.service)
    try:
        found = image(held, tag=tag_of(build))
    except AwsGone as error:
        raise BuildError(
            f"CodeBuild succeeded, but {held.name} has no image {tag_of(build)}: does the project "
            "push to REPOSITORY:TAG?", permanent=True,
        ) from error  # fmt: skip
    lines = [*lines, f"Pushed {found.digest}."]
    return BuildProgress(
        "succeeded", lines, image=f"{held.uri}@{found.digest}", operation=operation
    )
