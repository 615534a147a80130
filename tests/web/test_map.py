"""The live map: a drawing and a list that say the same."""

from __future__ import annotations

import pytest

from rollouts.models import Acknowledgement, Mesh, Proxy, Service, Task, Version
from rollouts.web.facts import read_facts
from rollouts.web.map import callers_of, service_map
from tests.web.rollout_rows import NOW, rolling, task, traffic

pytestmark = pytest.mark.django_db
SECOND = int(NOW.timestamp())


def drawn(rollout):
    return service_map(read_facts(rollout, NOW))


def test_it_goes_from_the_browser_to_each_version():
    assert [box.title for box in drawn(rolling()).boxes] == [
        *("Browser", "Load balancer", "Virtual router", "1.0", "0.9")
    ]


def test_the_caller_is_the_service_whose_prefix_serves_the_sampled_path():
    rollout = rolling()
    front = Service.objects.create(
        mesh=Mesh.objects.get(), slug="client", name="c.local", protocol="http", public_prefix="/a/"
    )
    Service.objects.filter(pk=rollout.service_id).update(sample_path="/a/hello")
    rollout.service.refresh_from_db()
    task(Version.objects.create(service=front, number=1, label="2.4", digest="x", keep=1), 0, NOW)
    assert callers_of(rollout.service) == front
    assert "client" in [box.title for box in drawn(rollout).boxes]


def test_arrows_say_observed_of_desired_and_grow_with_the_traffic():
    rollout = rolling()
    traffic(rollout.to_version, SECOND - 50, SECOND - 1, requests=9)
    traffic(rollout.from_version, SECOND - 50, SECOND - 1, requests=1)
    new, old = drawn(rollout).arrows[-2:]
    assert (new.label, old.label) == ("90.0 % of 50 %", "10.0 % of 50 %")
    assert new.width > old.width


def test_without_traffic_arrows_are_dashed_and_say_a_dash():
    arrow = drawn(rolling()).arrows[-1]
    assert arrow.idle
    assert arrow.label == "— of 50 %"


def test_a_refusing_and_a_silent_proxy_are_marked():
    rollout = rolling()
    Proxy.objects.filter(node="envoy-1").update(nack="bad cluster")
    Proxy.objects.filter(node="envoy-2").update(connected=False)
    chips = drawn(rollout).boxes[1].chips
    assert [chip.mark for chip in chips] == ["!", "!"]
    assert "envoy-2 is not connected to the control plane" in " ".join(drawn(rollout).sentences)


def test_a_proxy_behind_is_waited_for():
    rollout = rolling()
    Acknowledgement.objects.filter(proxy__node="envoy-1").update(generation=1)
    assert drawn(rollout).boxes[1].chips[0].mark == "…"


def test_a_task_that_is_not_well_says_why_in_drawing_and_list():
    rollout = rolling()
    Task.objects.filter(version__label="1.0", index=1).update(
        healthy=False, reason="exited with code 1"
    )
    seen = drawn(rollout)
    assert seen.boxes[-2].chips[1].why == "exited with code 1"
    assert any("exited with code 1" in line for line in seen.sentences)
