"""The lists: services, rollouts, audit. Filters, bad input, CSV, numbers of queries."""

import time

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone

from rollouts.domain.traffic import Histogram
from rollouts.models import Event, Mesh, Rollout, Service, TrafficBucket, Version
from rollouts.web.csv import cell
from rollouts.web.dialogs import Confirm, confirm
from rollouts.web.pages import rows_of

pytestmark = pytest.mark.django_db
LISTS = ("services", "rollouts", "audit")


@pytest.fixture
def viewer(client):
    user = User.objects.create_user("viewer")
    client.force_login(user)
    return user


@pytest.fixture
def mesh():
    return Mesh.objects.create(slug="echo", name="Echo")


def service_of(mesh, slug, **columns):
    service = Service.objects.create(mesh=mesh, slug=slug, name=f"{slug}.local", **columns)
    old = Version.objects.create(service=service, number=1, label="0.9", digest="a")
    new = Version.objects.create(service=service, number=2, label="1.0", digest="b")
    service.weights = {str(old.pk): 75, str(new.pk): 25}
    service.stable = old
    service.save()
    return service, old, new


def rollout_of(service, old, new, **columns):
    columns = {"phase": "progressing", "stage": "hold", "left": 30.0} | columns
    return Rollout.objects.create(
        service=service,
        from_version=old,
        to_version=new,
        plan=[{"weight": 25, "hold_s": 60, "approval": False}],
        created_at=timezone.now(),
        **columns,
    )


@pytest.mark.parametrize("name", LISTS)
def test_a_list_needs_a_sign_in(client, name):
    response = client.get(reverse(name))
    assert response.status_code == 302
    assert response.url.startswith(reverse("login"))


@pytest.mark.parametrize("name", LISTS)
def test_an_empty_list_says_what_to_do(client, viewer, name):
    response = client.get(reverse(name))
    assert response.status_code == 200
    assert b'class="empty"' in response.content
    assert "script-src 'self'" in response["Content-Security-Policy"]


@pytest.mark.parametrize("name", LISTS)
def test_a_list_only_answers_get(client, viewer, name):
    assert client.post(reverse(name)).status_code == 405


@pytest.mark.parametrize(
    ("name", "query", "field"),
    [
        ("services", "page=0", "page"),
        ("services", "page=-1", "page"),
        ("services", "page=1e3", "page"),
        ("services", "page=%F0%9D%9F%99", "page"),
        ("rollouts", "page=99999999999999999999", "page"),
        ("rollouts", "status=nope", "status"),
        ("rollouts", "since=yesterday", "since"),
        ("rollouts", "since=2026-02-30", "since"),
        ("rollouts", "service=a%00b", "service"),
        ("rollouts", f"by={'x' * 151}", "by"),
        ("rollouts", "format=xls", "format"),
        ("audit", "actor=%E2%80%AEx", "actor"),
        ("audit", f"verb={'x' * 31}", "verb"),
        ("audit", "format=json", "format"),
    ],
)
def test_a_wrong_parameter_is_named(client, viewer, name, query, field):
    response = client.get(f"{reverse(name)}?{query}")
    assert response.status_code == 400
    assert f"{field}:".encode() in response.content


def test_what_needs_a_person_comes_first(client, viewer, mesh):
    service_of(mesh, "a-quiet")
    rollout_of(*service_of(mesh, "b-moving"))
    rollout_of(*service_of(mesh, "c-waits"), stage="approval")
    service_of(mesh, "d-alarm", alarm="A proxy is silent.")
    response = client.get(reverse("services"))
    order = [row.service.slug for row in response.context["rows"]]
    assert order == ["c-waits", "d-alarm", "b-moving", "a-quiet"]
    assert (response.context["moving"], response.context["needing"]) == (1, 2)
    assert b"Waiting for you" in response.content


def test_a_service_shows_the_last_minute_and_a_dash_for_silence(mesh):
    seen, _, new = service_of(mesh, "seen")
    silent, _, _ = service_of(mesh, "silent")
    second = int(time.time())
    latency = Histogram()
    latency.record(40, 10)
    for age, errors in ((5, 1), (300, 10)):
        TrafficBucket.objects.create(
            service=seen,
            version=new,
            source="sampler",
            second=second - age,
            requests=10,
            errors=errors,
            latency=latency.to_json(),
        )
    first, second_row = rows_of([seen, silent], time.time())
    assert first.success == pytest.approx(90)
    assert first.p95_ms == pytest.approx(40, rel=0.05)
    assert (second_row.success, second_row.p95_ms) == (None, None)


@pytest.mark.parametrize("name", LISTS)
def test_the_number_of_queries_does_not_grow_with_the_rows(
    client, viewer, mesh, name, django_assert_max_num_queries
):
    for n in range(20):
        service, old, new = service_of(mesh, f"service-{n}")
        rollout = rollout_of(service, old, new)
        Event.objects.create(
            at=timezone.now(), verb="deploy", text="deployed", service=service, rollout=rollout
        )
    client.get(reverse(name))
    with django_assert_max_num_queries(12):
        response = client.get(reverse(name))
    assert response.content.count(b"<tr") > 20


def test_the_live_part_of_the_list_is_two_partials(client, viewer, mesh):
    service_of(mesh, "echo-server")
    content = client.get(reverse("services-parts")).content
    assert content.count(b"<hx-partial") == 2
    assert b"<html" not in content


def test_history_filters_by_service_state_person_and_day(client, viewer, mesh):
    service, old, new = service_of(mesh, "echo-server")
    done = rollout_of(service, old, new, phase="succeeded", started_by=viewer)
    live = rollout_of(service, old, new)
    today = timezone.now().strftime("%Y-%m-%d")

    def found(query):
        response = client.get(f"{reverse('rollouts')}?{query}")
        return [rollout.pk for rollout, _ in response.context["rows"]]

    assert found("service=echo-server") == [live.pk, done.pk]
    assert found("service=other") == []
    assert found("status=live") == [live.pk]
    assert found("status=succeeded") == [done.pk]
    assert found("by=viewer") == [done.pk]
    assert found(f"since={today}") == [live.pk, done.pk]


def test_history_has_pages_of_fifty_that_keep_the_filters(client, viewer, mesh):
    service, old, new = service_of(mesh, "echo-server")
    for _ in range(51):
        rollout_of(service, old, new, phase="succeeded")
    response = client.get(f"{reverse('rollouts')}?status=succeeded")
    assert len(response.context["rows"]) == 50
    assert b'href="?status=succeeded&amp;page=2"' in response.content


def test_audit_filters_by_actor_verb_and_object(client, viewer, mesh):
    service, old, new = service_of(mesh, "echo-server")
    rollout = rollout_of(service, old, new)
    base = {"at": timezone.now(), "text": "did it"}
    first = Event.objects.create(actor="ann", verb="deploy", service=service, **base)
    second = Event.objects.create(actor="bob", verb="pause", rollout=rollout, **base)

    def found(query):
        return [e.pk for e in client.get(f"{reverse('audit')}?{query}").context["page"]]

    assert found("") == [second.pk, first.pk]
    assert found("actor=ann") == [first.pk]
    assert found("verb=pause") == [second.pk]
    assert found("object=echo-server") == [first.pk]
    assert found(f"object=%23{rollout.pk}") == [second.pk]
    assert found("object=99999999999999999999") == []


def test_an_event_is_text_and_never_markup(client, viewer):
    Event.objects.create(at=timezone.now(), verb="deploy", actor="<b>", text="<script>x</script>")
    content = client.get(reverse("audit")).content
    assert b"<script>x" not in content
    assert b"&lt;script&gt;x" in content


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", " =1", "\r=1"])
def test_a_cell_that_a_spreadsheet_would_run_is_made_text(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["1.0", "#3", 12, ""])
def test_other_cells_stay_as_they_are(value):
    assert cell(value) == str(value)


def test_csv_holds_the_filtered_rows(client, viewer):
    at = timezone.now()
    Event.objects.create(at=at, verb="deploy", actor="ann", text="deployed", reason="=cmd()")
    Event.objects.create(at=at, verb="pause", actor="bob", text="paused")
    response = client.get(f"{reverse('audit')}?actor=ann&format=csv")
    lines = b"".join(response.streaming_content).decode().splitlines()
    assert response["Content-Type"].startswith("text/csv")
    assert len(lines) == 2
    assert "'=cmd()" in lines[1]


def test_looking_at_every_list_changes_nothing(client, viewer, mesh):
    rollout_of(*service_of(mesh, "echo-server"))
    before = [list(m.objects.values()) for m in (Service, Rollout, Event)]
    for name in LISTS:
        client.get(reverse(name))
    assert [list(m.objects.values()) for m in (Service, Rollout, Event)] == before


def test_a_confirmation_is_a_page_or_a_dialog_with_the_same_form(rf, viewer, mesh):
    _, old, _ = service_of(mesh, "echo-server")
    ask = Confirm(
        title="Roll back echo-server to 0.9?",
        button="Roll back to 0.9 now",
        action="/x/",
        cancel="/",
        present=[(old, "75 % of traffic")],
        danger=True,
        expect=7,
    )
    for headers, whole in (({}, True), ({"HX-Request": "true"}, False)):
        request = rf.get("/", headers=headers)
        request.user = viewer
        content = confirm(request, ask).content.decode()
        assert ("<html" in content) is whole
        assert 'name="expect" value="7"' in content
        assert f'name="request_id" value="{ask.request_id}"' in content
        assert "Roll back to 0.9 now" in content


def test_the_environment_badge_is_red_only_for_production(client, viewer, mesh):
    assert b'class="env"' in client.get("/").content
    Mesh.objects.update(production=True)
    assert b'class="env production"' in client.get("/").content
