"""Images of the fake: ECR by digest, and CodeBuild that pushes to it."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.fakeaws.control import Fake
from tests.fakeaws.echo import Client, until

NAME = "shop/echo_server"


@pytest.fixture
def ecr(client: Client) -> Any:
    client("ecr").create_repository(repositoryName=NAME, imageTagMutability="IMMUTABLE")
    return client("ecr")


@pytest.fixture
def project(client: Client) -> str:
    client("codebuild").create_project(
        name="images", serviceRole="arn:aws:iam::123456789012:role/build",
        source={"type": "NO_SOURCE", "location": "none"}, artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "computeType": "BUILD_GENERAL1_SMALL",
                     "image": "aws/codebuild/standard:7.0"},
        logsConfig={"cloudWatchLogs": {"status": "ENABLED", "groupName": "shop",
                                       "streamName": "images"}},
    )  # fmt: skip
    return "images"


def tags(ecr: Any) -> dict[str, Any]:
    found = ecr.describe_images(repositoryName=NAME)["imageDetails"]
    return {tag: image for image in found for tag in image["imageTags"]}


def test_a_new_repository_has_images_to_choose_from(ecr: Any):
    images = tags(ecr)
    assert set(images) == {"0.9", "1.0", "1.1-broken"}
    assert len({image["imageDigest"] for image in images.values()}) == 3
    assert images["1.0"]["imageSizeInBytes"] > 50_000_000
    assert images["0.9"]["imagePushedAt"] < images["1.0"]["imagePushedAt"]
    assert images["0.9"]["imageScanStatus"]["status"] == "COMPLETE"
    assert images["0.9"]["imageScanFindingsSummary"]["findingSeverityCounts"]["HIGH"] == 2


@pytest.mark.parametrize(("name", "tag"), [("a/echo_client", "1.0"), ("a/envoy", "v1.40.0")])
def test_client_and_envoy_have_one_image(client: Client, name: str, tag: str):
    client("ecr").create_repository(repositoryName=name)
    found = client("ecr").describe_images(repositoryName=name)["imageDetails"]
    assert [image["imageTags"] for image in found] == [[tag]]


def test_a_digest_is_the_hash_of_the_manifest(ecr: Any):
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"size": 10, "digest": "sha256:0"},
        "layers": [{"size": 32, "digest": "sha256:1"}],
    })  # fmt: skip
    ecr.put_image(repositoryName=NAME, imageManifest=manifest, imageTag="2.0")
    image = tags(ecr)["2.0"]
    digest = "sha256:" + hashlib.sha256(manifest.encode()).hexdigest()
    assert (image["imageDigest"], image["imageSizeInBytes"]) == (digest, 42)
    kept = ecr.batch_get_image(repositoryName=NAME, imageIds=[{"imageDigest": digest}])
    assert kept["images"][0]["imageManifest"] == manifest


def test_an_immutable_tag_is_not_moved(ecr: Any):
    manifest = json.dumps({"schemaVersion": 2, "mediaType": "a", "layers": []})
    with pytest.raises(ecr.exceptions.ImageTagAlreadyExistsException, match="immutable"):
        ecr.put_image(repositoryName=NAME, imageManifest=manifest, imageTag="1.0")


def test_an_unknown_image_is_not_found(ecr: Any):
    with pytest.raises(ecr.exceptions.ImageNotFoundException):
        ecr.describe_images(repositoryName=NAME, imageIds=[{"imageTag": "7"}])


def test_a_token_is_good_for_hours(ecr: Any):
    (token,) = ecr.get_authorization_token()["authorizationData"]
    assert base64.b64decode(token["authorizationToken"]).startswith(b"AWS:")
    assert token["expiresAt"] > datetime.now(UTC)


def start(client: Client, project: str, tag: str = "2.0", **variables: str) -> str:
    told = {"TAG": tag, "REPOSITORY": f"123456789012.dkr.ecr.eu-central-1.amazonaws.com/{NAME}"}
    return str(client("codebuild").start_build(
        projectName=project, sourceTypeOverride="GITHUB",
        sourceLocationOverride="https://github.com/team/echo",
        environmentVariablesOverride=[
            {"name": name, "value": value} for name, value in (told | variables).items()
        ],
    )["build"]["id"])  # fmt: skip


def look(client: Client, build: str) -> Any:
    return client("codebuild").batch_get_builds(ids=[build])["builds"][0]


def done(client: Client, build: str) -> Any:
    return until(lambda: (found := look(client, build))["buildComplete"] and found)


def log(client: Client, build: Any) -> str:
    place = build["logs"]
    events = client("logs").get_log_events(
        logGroupName=place["groupName"], logStreamName=place["streamName"], startFromHead=True
    )["events"]
    return "\n".join(event["message"] for event in events)


def test_a_build_goes_through_its_phases_and_pushes(
    aws: Fake, ecr: Any, client: Client, project: str
):
    aws.speeds(task=60)
    build = start(client, project)
    assert look(client, build)["currentPhase"] == "SUBMITTED"
    aws.pass_(60)
    assert look(client, build)["currentPhase"] == "QUEUED"
    assert look(client, build)["buildStatus"] == "IN_PROGRESS"
    aws.pass_(600)
    ended = look(client, build)
    assert ended["buildStatus"] == "SUCCEEDED"
    assert [phase["phaseType"] for phase in ended["phases"]][-1] == "COMPLETED"
    assert ended["logs"]["streamName"] == f"images/{build.split(':')[1]}"
    digest = tags(ecr)["2.0"]["imageDigest"]
    assert f"2.0: digest: {digest}" in log(client, ended)
    assert {"name": "IMAGE_DIGEST", "value": digest} in ended["exportedEnvironmentVariables"]


@pytest.mark.parametrize("how", ["variable", "verb"])
def test_a_build_fails_in_the_named_phase(
    aws: Fake, ecr: Any, client: Client, project: str, how: str
):
    if how == "verb":
        aws.fail_build(project, "PRE_BUILD")
    ended = done(client, start(client, project, **({"FAIL": "PRE_BUILD"} if how != "verb" else {})))
    assert ended["buildStatus"] == "FAILED"
    (failed,) = [each for each in ended["phases"] if each.get("phaseStatus") == "FAILED"]
    assert failed["phaseType"] == "PRE_BUILD"
    assert failed["contexts"][0]["statusCode"] == "COMMAND_EXECUTION_ERROR"
    assert "2.0" not in tags(ecr)


def test_a_build_of_a_taken_tag_fails(ecr: Any, client: Client, project: str):
    ended = done(client, start(client, project, tag="1.0"))
    assert ended["buildStatus"] == "FAILED"
    assert "already exists" in log(client, ended)


def test_a_build_can_be_stopped(aws: Fake, ecr: Any, client: Client, project: str):
    aws.speeds(task=60)
    build = start(client, project)
    client("codebuild").stop_build(id=build)
    assert look(client, build)["buildStatus"] == "STOPPED"
    assert client("codebuild").batch_get_builds(ids=["images:x"])["buildsNotFound"] == ["images:x"]


def test_a_repeated_token_starts_nothing(client: Client, project: str):
    asked = {"projectName": project, "idempotencyToken": "a"}
    ids = {client("codebuild").start_build(**asked)["build"]["id"] for _ in range(2)}
    assert len(ids) == 1


def test_an_unknown_project_is_not_found(client: Client):
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        client("codebuild").start_build(projectName="nothing")
