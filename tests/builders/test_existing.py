"""Images that are there: the list of a repository, and one that becomes a version."""

from __future__ import annotations

import pytest

from rollouts import aws
from rollouts.builders.repository import images, push_uri, repository
from rollouts.errors import AwsDenied, BuildError, InvalidInput
from rollouts.models import Event, Service, Version
from tests.builders.conftest import NAME, URI, log_of

MEDIA = "application/vnd.oci.image.manifest.v1+json"


def test_images_are_listed_newest_first_with_what_the_scan_found(fake, service):
    found = images(repository(service))
    assert [image.tags for image in found][-2:] == [("1.0",), ("0.9",)]
    assert (found[-1].findings or {})["HIGH"] == 2
    assert found[-1].size > 50_000_000
    pushed = [image.pushed_at.timestamp() for image in found if image.pushed_at]
    assert pushed == sorted(pushed, reverse=True)


def test_every_page_of_the_list_is_read(fake, service):
    for number in range(120):
        manifest = f'{{"schemaVersion": 2, "layers": [], "number": {number}}}'
        aws.call(
            repository(service).account, "ecr", "put_image", repositoryName=NAME,
            imageManifest=manifest, imageTag=f"n{number}", imageManifestMediaType=MEDIA,
        )  # fmt: skip
    assert len(images(repository(service))) == 123


def test_a_tag_becomes_a_version_by_its_digest(fake, service, request_, ticks):
    build = ticks(request_("existing", "2.0", image="1.0"))
    digest = {image.tags: image.digest for image in images(repository(service))}[("1.0",)]
    assert (build.phase, build.digest, build.image) == ("succeeded", digest, f"{URI}@{digest}")
    version = service.versions.get()
    assert (version.label, version.image, version.digest) == ("2.0", f"{URI}@{digest}", digest)
    assert (build.version, build.archive, build.wake_at) == (version, None, None)
    assert log_of(build) == [f"Found {digest} in {URI}, tagged 1.0."]
    assert Event.objects.get(verb="build-succeeded").text == (
        f"Build #{build.pk} made the version 2.0."
    )


def test_a_digest_becomes_a_version_too(fake, service, request_, ticks):
    digest = images(repository(service))[0].digest
    assert ticks(request_("existing", image=digest)).version.digest == digest


@pytest.mark.parametrize("image", ["7.7", "sha256:" + "0" * 64])
def test_an_image_that_is_not_there_fails_with_its_name(fake, request_, ticks, image):
    build = ticks(request_("existing", image=image))
    assert (build.phase, build.reason) == (
        "failed", f"There is no image {image} in {NAME}. Was it pushed?",
    )  # fmt: skip


def test_an_error_that_may_pass_is_tried_again_and_said(fake, request_, ticks):
    fake.inject("ecr", "DescribeImages", error="500", times=4)
    build = request_("existing", image="1.0")
    assert ticks(build, "building").reason
    assert ticks(build).phase == "succeeded"
    assert build.reason == ""


def test_a_right_that_is_missing_fails_it_and_is_named(fake, service, request_, ticks):
    fake.inject("ecr", "DescribeImages", error="AccessDeniedException", times=None)
    build = ticks(request_("existing", image="1.0"))
    assert "ecr:DescribeImages" in build.reason
    with pytest.raises(AwsDenied):
        images(repository(service))


def test_a_label_that_was_taken_meanwhile_fails_and_keeps_the_image(fake, service, request_, ticks):
    build = request_("existing", "2.0", image="1.0")
    Version.objects.add(service, label="2.0", digest="sha256:x", image="x")
    build = ticks(build)
    assert build.phase == "failed"
    assert "echo-server has a version 2.0 already. The image is there as sha256:" in build.reason
    assert service.versions.count() == 1


def test_two_builds_of_one_label_end_with_one_version(fake, service, request_, ticks):
    first = request_("existing", "2.0", image="1.0")
    with pytest.raises(InvalidInput) as refused:
        request_("existing", "2.0", image="0.9")
    assert (refused.value.field, str(refused.value)) == (
        "label", f"Build #{first.pk} makes 2.0 right now.",
    )  # fmt: skip


def test_outputs_are_found_by_the_first_label_of_the_name():
    assert Service(name="echo_server.echo.local").output_prefix == "EchoServer"
    assert Service(name="web-front.echo.local").output_prefix == "WebFront"


def test_without_an_output_it_says_which_stack_is_missing(service):
    service.mesh.stacks.update(outputs={})
    with pytest.raises(BuildError, match="create the stack infra of shop"):
        repository(service)


def test_a_registry_of_ones_own_takes_the_place_of_the_host(service, settings):
    settings.REGISTRY = "127.0.0.1:5000"
    assert push_uri(service) == f"127.0.0.1:5000/{NAME}"
