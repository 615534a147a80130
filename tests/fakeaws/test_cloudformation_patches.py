"""Every place of moto that the extension replaces or reads still exists in the pinned moto."""

from __future__ import annotations

import pytest
from moto.appmesh import urls
from moto.appmesh.models import AppMeshBackend, appmesh_backends
from moto.appmesh.responses import AppMeshResponse
from moto.cloudformation.models import CloudFormationBackend
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.botocore_stubber import BotocoreStubber
from moto.ec2.models import EC2Backend
from moto.elbv2 import models as balancers
from moto.elbv2.models import ELBv2Backend, FakeTargetGroup
from moto.iam.models import AWSManagedPolicy, IAMBackend

from tests.fakeaws import appmesh, cloudformation, elbv2, vpc

REPLACED = [
    *((ELBv2Backend, name) for name in elbv2._BACKEND),
    *((EC2Backend, name) for name in vpc._BACKEND),
    (FakeTargetGroup, "register"),
    (FakeTargetGroup, "deregister"),
    (balancers, "register_certificate"),
    (IAMBackend, "attach_role_policy"),
    (AWSManagedPolicy, "from_data"),
    (BotocoreStubber, "process_request"),
    (CloudFormationResponse, "_get_param"),
    (CloudFormationResponse, "_get_bool_param"),
    (CloudFormationResponse, "_get_stack_from_s3_url"),
    (CloudFormationResponse, "cloudformation_backend"),
    (CloudFormationResponse, "RESPONSE_KEY_PATH_TO_TRANSFORMER"),
    (AppMeshResponse, "appmesh_backend"),
    (AppMeshResponse, "dispatch"),
]


@pytest.mark.parametrize(("owner", "name"), REPLACED, ids=lambda value: str(value))
def test_moto_still_has(owner: object, name: str):
    assert hasattr(owner, name)


def test_moto_still_keeps_its_backends_by_account_and_region():
    backend = appmesh_backends["123456789012"]["eu-central-1"]
    assert isinstance(backend, AppMeshBackend)
    assert (backend.account_id, backend.region_name) == ("123456789012", "eu-central-1")
    assert CloudFormationBackend.__init__.__code__.co_argcount == 3


def test_installing_twice_is_harmless():
    for module in (appmesh, cloudformation, elbv2, vpc):
        module.install()
    before = {name: getattr(ELBv2Backend, name) for name in elbv2._BACKEND}
    for module in (appmesh, cloudformation, elbv2, vpc):
        module.install()
    assert {name: getattr(ELBv2Backend, name) for name in elbv2._BACKEND} == before


def test_the_paths_of_virtual_services_are_known_before_the_server_starts():
    appmesh.install()
    assert [path for path in urls.url_paths if "virtualServices" in path]
    assert [path for path in urls.url_paths if "untag" in path]
