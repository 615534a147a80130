"""The first configuration of an Envoy beside a task, and its container."""

import json

import pytest

from rollouts.errors import InvalidInput
from rollouts.xds.sidecar import control_plane_address, sidecar_bootstrap, sidecar_container
from rollouts.xds.snapshot import Address
from tests.stacks.template import Template

LOGS = {"awslogs-group": "g", "awslogs-region": "r", "awslogs-stream-prefix": "echo-client"}


def cluster(address: str):
    text = sidecar_bootstrap("echo", "echo_client", control_plane_address(address))
    (made,) = json.loads(text)["static_resources"]["clusters"]
    return made


def tls(address: str):
    return cluster(address)["transport_socket"]["typed_config"]


def names(address: str):
    context = tls(address)["common_tls_context"]["validation_context"]
    return context["match_typed_subject_alt_names"]


def test_a_control_plane_with_a_name_is_looked_up_and_must_have_that_name():
    made = cluster("XDS.echo.local:18001")
    assert (made["type"], made["dns_lookup_family"]) == ("STRICT_DNS", "V4_ONLY")
    assert tls("XDS.echo.local:18001")["sni"] == "xds.echo.local"
    assert names("XDS.echo.local:18001") == [
        {"san_type": "DNS", "matcher": {"exact": "xds.echo.local"}}
    ]


@pytest.mark.parametrize(("text", "ip"), [("10.0.0.1:1", "10.0.0.1"), ("[fd00::1]:1", "fd00::1")])
def test_a_control_plane_with_an_address_must_have_that_address(text, ip):
    assert cluster(text)["type"] == "STATIC"
    assert "dns_lookup_family" not in cluster(text)
    assert "sni" not in tls(text)
    assert names(text) == [{"san_type": "IP_ADDRESS", "matcher": {"exact": ip}}]


@pytest.mark.parametrize("wrong", ["", "xds", "xds:", "xds:0", "xds:65536", "a b:1", "http://x:1"])
def test_what_is_no_address_is_refused(wrong):
    with pytest.raises(InvalidInput) as refused:
        control_plane_address(wrong)
    assert refused.value.field == "control_plane"


def test_no_secret_is_in_the_bootstrap():
    text = sidecar_bootstrap("echo", "echo_client", Address("xds", 1))
    assert "BEGIN" not in text
    for variable in ("MESHUI_XDS_CERT", "MESHUI_XDS_KEY", "MESHUI_XDS_CA"):
        assert f'{{"environment_variable":"{variable}"}}' in text


def test_the_node_is_what_its_certificate_names():
    node = json.loads(sidecar_bootstrap("echo", "echo_client", Address("xds", 1)))["node"]
    assert node["cluster"] == "echo"
    assert node["metadata"]["service"] == "echo_client"
    assert "id" not in node


def as_cloudformation(container):
    """The same with the keys of CloudFormation."""
    if isinstance(container, dict):
        # Options of a log driver are the driver's own words.
        same = set(container) <= set(LOGS)
        return {
            key if same else key[0].upper() + key[1:]: as_cloudformation(value)
            for key, value in container.items()
        }
    if isinstance(container, list):
        return [as_cloudformation(each) for each in container]
    return container


def test_the_template_says_the_same_of_the_container():
    template = Template("app", Router="envoy", EchoClientSecret="arn:secret", EnvoyImage="e@sha")
    (written,) = (
        container
        for definition in template.of("ECS::TaskDefinition").values()
        for container in definition["ContainerDefinitions"]
        if container["Name"] == "envoy"
    )
    made = as_cloudformation(sidecar_container("e@sha", "arn:secret", LOGS))
    written["LogConfiguration"]["Options"] |= LOGS
    assert made == written
