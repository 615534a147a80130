"""CodeBuild as time passes: phases, a log in CloudWatch Logs, and an image in ECR at the end.

A build pushes to the repository named by its variables REPOSITORY (a URI) and TAG, or
IMAGE_REPO_NAME and IMAGE_TAG. Its variable FAIL, or the verb ``fail-build``, names the phase that
fails.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from moto.codebuild.exceptions import ResourceNotFoundException
from moto.codebuild.models import CodeBuild, CodeBuildBackend, codebuild_backends
from moto.codebuild.responses import CodeBuildResponse
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.core.utils import unix_time_millis, utcnow
from moto.ecr.models import ecr_backends
from moto.logs.models import logs_backends

from tests.fakeaws import ecr, inject, world

PHASES = (
    "SUBMITTED", "QUEUED", "PROVISIONING", "DOWNLOAD_SOURCE", "INSTALL", "PRE_BUILD", "BUILD",
    "POST_BUILD", "UPLOAD_ARTIFACTS", "FINALIZING", "COMPLETED",
)  # fmt: skip
STEPS = 5
"""Lines of ``docker build`` that the phase BUILD says."""


@dataclass(eq=False)
class Build:
    """One build; public attributes are those of the API. ``since``: when its phase began."""

    project: CodeBuild
    asked: Mapping[str, Any]
    account: str
    region: str
    number: int
    since: float
    phases: list[dict[str, Any]] = field(default_factory=list)
    build_status: str = "IN_PROGRESS"
    start_time: datetime = field(default_factory=utcnow)
    end_time: datetime | None = None
    exported_environment_variables: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = self.project.project_metadata
        self.uuid = str(uuid.uuid4())
        self.project_name = str(settings["name"])
        self.id = f"{self.project_name}:{self.uuid}"
        self.arn = f"arn:aws:codebuild:{self.region}:{self.account}:build/{self.id}"
        self.build_number = self.number
        self.current_phase = "SUBMITTED"
        self.initiator = "meshui"
        self.service_role = settings.get("serviceRole")
        self.source_version = self.asked.get("sourceVersion") or settings.get("sourceVersion")
        self.source = dict(settings.get("source") or {})
        self.source["type"] = self.asked.get("sourceTypeOverride") or self.source.get("type")
        self.source["location"] = self.asked.get("sourceLocationOverride") or self.source.get(
            "location"
        )
        self.environment = dict(settings.get("environment") or {})
        self.variables = self._variables()
        self.logs = self._logs(settings)
        self.timeout_in_minutes = settings.get("timeoutInMinutes") or 60
        self._begin("SUBMITTED")

    @property
    def build_complete(self) -> bool:
        return self.build_status != "IN_PROGRESS"

    def _variables(self) -> dict[str, str]:
        told = [
            *(self.environment.get("environmentVariables") or ()),
            *(self.asked.get("environmentVariablesOverride") or ()),
        ]
        return {str(each["name"]): str(each["value"]) for each in told}

    def _logs(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        chosen = (settings.get("logsConfig") or {}).get("cloudWatchLogs") or {}
        group = chosen.get("groupName") or f"/aws/codebuild/{self.project_name}"
        prefix = chosen.get("streamName")
        stream = f"{prefix}/{self.uuid}" if prefix else self.uuid
        arn = f"arn:aws:logs:{self.region}:{self.account}:log-group:{group}:log-stream:{stream}"
        return {"groupName": group, "streamName": stream, "cloudWatchLogsArn": arn}

    def _begin(self, phase: str) -> None:
        self.current_phase = phase
        begun: dict[str, Any] = {"phaseType": phase, "startTime": utcnow()}
        self.phases.append(begun)

    def advance(self, now: float) -> None:
        """Go through every phase whose time has come by ``now``."""
        while not self.build_complete and now - self.since >= world.speeds.task:
            self.since += world.speeds.task
            failure = self._work(self.current_phase)
            self._end_phase("FAILED" if failure else "SUCCEEDED", failure)
            if failure:
                self._finish("FAILED")
                return
            self._begin(PHASES[PHASES.index(self.current_phase) + 1])
            if self.current_phase == "COMPLETED":
                self._finish("SUCCEEDED")

    def _end_phase(self, status: str, failure: str) -> None:
        ended = self.phases[-1]
        ended["phaseStatus"], ended["endTime"] = status, utcnow()
        ended["durationInSeconds"] = int((ended["endTime"] - ended["startTime"]).total_seconds())
        if failure:
            context = {"statusCode": "COMMAND_EXECUTION_ERROR", "message": failure}
            ended["contexts"] = [context]
            self.say(f"Phase context status code: COMMAND_EXECUTION_ERROR Message: {failure}")
        self.say(f"Phase complete: {ended['phaseType']} State: {status}")

    def _finish(self, status: str) -> None:
        if self.current_phase != "COMPLETED":
            self._begin("COMPLETED")
        self.build_status, self.end_time = status, utcnow()

    def _work(self, phase: str) -> str:
        """Do what the phase does; why it fails, or nothing."""
        wanted = self.variables.get("FAIL") or inject.FAIL_BUILDS.get(self.project_name)
        if wanted == phase:
            return "Error while executing command: fails on purpose. Reason: exit status 1"
        if phase == "DOWNLOAD_SOURCE":
            self.say(f"Cloning {self.source['location']} at {self.source_version or 'HEAD'}")
        elif phase == "PRE_BUILD":
            self.say("Login Succeeded")
        elif phase == "BUILD":
            for step in range(1, STEPS + 1):
                self.say(f"Step {step}/{STEPS} : {'FROM' if step == 1 else 'RUN'} …")
            return self._push()
        return ""

    def _push(self) -> str:
        registry, _, name = self.variables.get("REPOSITORY", "").partition("/")
        name = name or self.variables.get("IMAGE_REPO_NAME", "")
        tag = self.variables.get("TAG") or self.variables.get("IMAGE_TAG", "")
        if not name or not tag:
            return ""
        region = registry.split(".")[3] if registry.count(".") >= 4 else self.region
        self.say(f"The push refers to repository [{registry}/{name}]")
        try:
            digest = ecr.push(ecr_backends[self.account][region], name, tag)
        except ServiceException as error:
            self.say(str(error.message))
            return f"Error while executing command: docker push. Reason: exit status 1 ({error})"
        self.say(f"{tag}: digest: {digest} size: 1234")
        self.exported_environment_variables = [{"name": "IMAGE_DIGEST", "value": digest}]
        return ""

    def stop(self) -> None:
        if not self.build_complete:
            self._end_phase("STOPPED", "")
            self._finish("STOPPED")

    def say(self, line: str) -> None:
        """Add a line to the build's log."""
        backend = logs_backends[self.account][self.region]
        backend.ensure_log_group(self.logs["groupName"])
        group = backend.groups[self.logs["groupName"]]
        if self.logs["streamName"] not in group.streams:
            group.create_log_stream(self.logs["streamName"])
        event = {"timestamp": int(unix_time_millis(utcnow())), "message": f"[Container] {line}"}
        group.put_log_events(self.logs["streamName"], [event])


def install() -> None:
    CodeBuildResponse.start_build = _start  # type: ignore[method-assign]
    CodeBuildResponse.batch_get_builds = _look  # type: ignore[method-assign]
    CodeBuildResponse.stop_build = _stop  # type: ignore[method-assign]
    world.on_tick(run)


def builds_of(backend: CodeBuildBackend) -> dict[str, Build]:
    """Id → build, oldest first. Forgotten with the backend."""
    found: dict[str, Build] = backend.__dict__.setdefault("fake_builds", {})
    return found


def run(now: float) -> None:
    for _account, _region, backend in codebuild_backends.iter_backends():
        for build in builds_of(backend).values():  # type: ignore[arg-type]
            build.advance(now)


def _start(self: CodeBuildResponse) -> ActionResult:
    asked, backend = json.loads(self.body), self.codebuild_backend
    project = backend.codebuild_projects.get(asked["projectName"].split("/")[-1])
    if project is None:
        raise ResourceNotFoundException(f"Project cannot be found: {asked['projectName']}")
    builds, token = builds_of(backend), asked.get("idempotencyToken")
    for earlier in builds.values():
        if token and earlier.asked.get("idempotencyToken") == token:
            return ActionResult({"build": earlier})
    made = Build(
        project, asked, backend.account_id, backend.region_name, len(builds) + 1, world.now()
    )
    builds[made.id] = made
    backend.build_history[made.project_name].append(made.id)
    return ActionResult({"build": made})


def _look(self: CodeBuildResponse) -> ActionResult:
    builds, asked = builds_of(self.codebuild_backend), self._get_param("ids")
    missing = [name for name in asked if name not in builds]
    found = [builds[name] for name in asked if name in builds]
    return ActionResult({"builds": found, "buildsNotFound": missing})


def _stop(self: CodeBuildResponse) -> ActionResult:
    found = builds_of(self.codebuild_backend).get(self._get_param("id"))
    if found is None:
        raise ResourceNotFoundException("Build does not exist")
    found.stop()
    return ActionResult({"build": found})
