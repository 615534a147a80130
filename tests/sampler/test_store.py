"""What the database holds."""

from datetime import UTC, datetime

import pytest

from rollouts.domain.traffic import Histogram, Tally
from rollouts.models import Heartbeat, Mesh, Sample, Service, TrafficBucket, Version
from rollouts.sampler import store
from rollouts.sampler.ledger import Batch, Key, Row

pytestmark = pytest.mark.django_db
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def a_service(public_url="http://127.0.0.1:1", **fields) -> Service:
    mesh = Mesh.objects.create(slug="local", name="Local", public_url=public_url)
    fields = {"slug": "echo", "name": "echo.local", "sample_path": "/", **fields}
    return Service.objects.create(mesh=mesh, **fields)


def tally(requests: int, errors: int = 0) -> Tally:
    return Tally(requests, errors, Histogram({100: requests}))


def test_a_late_answer_is_added_to_the_second_in_which_it_was_due():
    service = a_service()
    version = Version.objects.create(service=service, number=1, label="1.0", digest="x")
    for key in (Key(service.pk, "sampler", 7, version.pk), Key(service.pk, "sampler", 7, None)):
        store.write(Batch({key: tally(3)}), NOW)
        store.write(Batch({key: tally(2, 1)}), NOW)
    found = TrafficBucket.objects.values_list("requests", "errors", "latency")
    assert list(found) == [(5, 1, {"100": 5})] * 2
    assert Heartbeat.objects.get(name="sampler").at == NOW


@pytest.mark.django_db(transaction=True)
def test_requests_of_what_was_deleted_are_left_out_and_the_others_stored():
    service = a_service()
    keys = [Key(99, "sampler", 7, None), Key(service.pk, "sampler", 7, 99)]
    good = Key(service.pk, "sampler", 7, None)
    samples = [Row(pk, None, 7, True, "200", 1, "") for pk in (99, service.pk)]
    assert store.write(Batch(dict.fromkeys([*keys, good], tally(1)), samples), NOW) == {service.pk}
    assert list(TrafficBucket.objects.values_list("service", "requests")) == [(service.pk, 1)]
    assert Sample.objects.count() == 1


def test_the_plan_is_built_anew_only_when_it_has_changed(django_assert_num_queries):
    service, plans = a_service(), store.Plans()
    first = plans.read()
    Service.objects.update(ticks=7, weights={"1": 100})
    with django_assert_num_queries(2):
        assert plans.read() is first
    Version.objects.create(service=service, number=1, label="1.0", digest="x")
    assert plans.read().labels != first.labels


def test_a_write_is_four_statements(django_assert_max_num_queries):
    service = a_service()
    store.write(Batch(), NOW)
    sample = Row(service.pk, None, 7, True, "200", 1, "")
    with django_assert_max_num_queries(6):  # and begin and commit
        store.write(Batch({Key(service.pk, "sampler", 7, None): tally(1)}, [sample]), NOW)


def test_it_prunes_to_the_newest_samples_and_a_day_of_buckets(settings):
    settings.SAMPLE_KEEP, settings.BUCKET_KEEP_S = 10, 100
    service, at = a_service(), NOW.timestamp()
    store.write(
        Batch(
            {Key(service.pk, "sampler", int(at) - s, None): tally(1) for s in (50, 100, 101)},
            [Row(service.pk, None, at, True, "200", 1.0, str(n)) for n in range(25)],
        ),
        NOW,
    )
    assert store.prune(NOW) == (15, 1)
    assert [s.message for s in Sample.objects.all()] == [str(n) for n in range(24, 14, -1)]
    assert store.prune(NOW) == (0, 0)


def test_the_plan_lists_services_that_have_an_endpoint_a_path_and_a_rate():
    service = a_service(timeout_s=60)
    version = Version.objects.create(service=service, number=1, label="1.0", digest="x")
    plan = store.Plans().read()
    assert [(w.pk, w.timeout_s) for w in plan.services] == [(service.pk, 10.0)]
    assert plan.targets == {version.target: (service.pk, version.pk, "grpc")}
    Service.objects.update(sample_rate=0)
    assert store.Plans().read().services == ()
    Service.objects.update(sample_rate=5)
    Mesh.objects.update(public_url="")
    assert store.Plans().read().services == ()
