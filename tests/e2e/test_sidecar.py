"""The control plane drives the Envoy beside a task over mTLS, started as ECS starts it."""

import http.client
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from django.db import connection

from rollouts.domain.state import Verdict
from rollouts.models import Acknowledgement, Proxy, Version
from rollouts.pki import Authority, Identity
from tests.e2e.sidecar import CLIENT, Caller, Place, eventually
from tests.envoy import somebody_listens
from tests.fakeaws.engine import Engine

pytestmark = [pytest.mark.envoy, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, stack: ExitStack, settings, transactional_db: None) -> Place:
    """A mesh with its control plane, and no task yet."""
    if connection.vendor != "sqlite":
        pytest.skip("the control plane reads the test's database file")
    engine = Engine()
    stack.callback(engine.close)
    made = Place(tmp_path, engine)
    settings.CONTROL_PLANE = f"127.0.0.1:{made.plain}"
    made.start_plane()
    stack.callback(made.kill_plane)
    return made


@pytest.fixture
def versions(place: Place) -> tuple[Version, Version]:
    return place.deploy("0.9"), place.deploy("1.0")


def calling(stack: ExitStack, ip: str) -> Caller:
    caller = Caller(ip)
    stack.callback(caller.close)
    return caller


def answers_at(ip: str) -> str:
    connection = http.client.HTTPConnection(ip, 8080, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_requests_follow_the_weights(place, versions, stack):
    old, new = versions
    place.weigh({old: 100, new: 0}, wait_s=0)  # nobody is there yet
    ips = [place.start_client(f"client/{n}", place.identity()) for n in (1, 2)]
    callers = [calling(stack, ip) for ip in ips]
    eventually(lambda: all(c.versions(1) == {"0.9": 1} for c in callers))
    for caller in callers:
        assert caller.versions() == {"0.9": 100}

    assert place.weigh({old: 50, new: 50}).verdict is Verdict.YES
    halves = callers[0].versions(400)
    assert set(halves) == {"0.9", "1.0"}
    assert 140 <= halves["1.0"] <= 260

    assert place.weigh({old: 0, new: 100}).verdict is Verdict.YES
    for ip, caller in zip(ips, callers, strict=True):
        assert caller.versions() == {"1.0": 100}
        eventually(partial(somebody_listens, 8080, ip))
        assert "Version 1.0" in answers_at(ip)


def test_each_sidecar_is_known_by_its_service_and_host(place, versions):
    old, new = versions
    ip = place.start_client("client/1", place.identity())
    eventually(lambda: place.weigh({old: 100, new: 0}).verdict is Verdict.YES)
    eventually(Acknowledgement.objects.exists)
    assert Proxy.objects.get().node == f"{CLIENT}/ip-{ip.replace('.', '-')}"


def test_sidecars_serve_on_when_the_control_plane_dies(place, versions, stack):
    old, new = versions
    place.weigh({old: 100, new: 0}, wait_s=0)  # nobody is there yet
    caller = calling(stack, place.start_client("client/1", place.identity()))
    eventually(lambda: caller.versions(1) == {"0.9": 1})
    place.kill_plane()
    assert caller.versions() == {"0.9": 100}
    place.start_plane()
    eventually(lambda: place.weigh({old: 0, new: 100}).verdict is Verdict.YES)
    assert caller.versions() == {"1.0": 100}


@dataclass(frozen=True)
class Wrong:
    """What is wrong with a sidecar, and what its own log or the control plane's says of it."""

    identity: Identity
    sidecar_says: str = ""
    control_plane_says: str = ""
    bootstrap: str | None = None


def wrong_ones(place: Place, folder: Path) -> dict[str, Wrong]:
    now = datetime.now(UTC)
    good, ours, strangers = place.identity(), place.authority, Authority(folder / "strange")
    billing = f"The certificate is for service billing, not for '{CLIENT}'."
    shop = "The certificate is for mesh shop, not for 'echo'."
    past = now - timedelta(days=3)
    strange = strangers.issue_client("echo", CLIENT, days=1, now=now)
    not_named_so = place.bootstrap.replace('{"exact":"localhost"}', '{"exact":"elsewhere"}')
    not_verified = "CERTIFICATE_VERIFY_FAILED"
    return {
        "another service": Wrong(
            ours.issue_client("echo", "billing", days=1, now=now), billing, billing
        ),
        "another mesh": Wrong(ours.issue_client("shop", CLIENT, days=1, now=now), shop, shop),
        # A bad certificate ends a handshake that the sidecar thinks is over: it is told nothing.
        "expired": Wrong(
            ours.issue_client("echo", CLIENT, days=1, now=past),
            control_plane_says="certificate has expired",
        ),
        "a strange authority": Wrong(
            Identity(strange.cert, strange.key, good.ca),
            control_plane_says="unable to get local issuer certificate",
        ),
        "a control plane of a strange authority": Wrong(
            Identity(good.cert, good.key, strange.ca), not_verified
        ),
        "a control plane of another name": Wrong(good, not_verified, bootstrap=not_named_so),
    }


def test_what_does_not_fit_is_refused_and_the_reason_is_to_be_read(place, versions, tmp_path):
    cases = wrong_ones(place, tmp_path)
    ips = [place.start_client(name, case.identity, case.bootstrap) for name, case in cases.items()]
    for name, case in cases.items():
        eventually(partial(envoy_says, place, name, "config stream"))
        eventually(partial(envoy_says, place, name, case.sidecar_says))
        assert case.control_plane_says in place.said()
    assert not Proxy.objects.exists()
    assert not any(somebody_listens(15001, ip) for ip in ips)
    shop = "mesh shop, not for 'echo'"
    assert place.said().count(shop) == 1


def envoy_says(place: Place, task: str, text: str) -> bool:
    return text in place.envoy_log(task)
