"""The rollout page, its data and its actions, through Django's client."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse
from django.utils import timezone

from rollouts.models import Event, Rollout, Sample
from tests.web.rollout_rows import person, rolling, traffic

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


@pytest.fixture
def rollout():
    now = timezone.now()
    made = rolling(now)
    second = int(now.timestamp())
    traffic(made.to_version, second - 40, second)
    traffic(made.from_version, second - 40, second)
    return made


@pytest.fixture
def operator(client):
    user = person()
    client.force_login(user)
    return user


def url(rollout, name="rollout", *more):
    return reverse(name, args=[rollout.pk, *more])


def test_the_page_needs_no_script_to_be_read(client, operator, rollout):
    Sample.objects.create(
        service=rollout.service,
        version=rollout.to_version,
        at=timezone.now(),
        ok=True,
        status="200",
        latency_ms=12.5,
        message="Hello, <b>Yizumi</b>",
    )
    page = client.get(url(rollout)).content.decode()
    assert "Baking at 50 %" in page
    assert "1.0 does no worse than 0.9." in page
    assert '<svg class="ssvg"' in page
    assert "50.0 %" in page
    assert "Hello, &lt;b&gt;Yizumi&lt;/b&gt;" in page
    assert "Roll back to 0.9" in page
    assert url(rollout, "rollout-act", "rollback") in page


def test_the_page_has_no_inline_script_or_style(client, operator, rollout):
    page = client.get(url(rollout)).content.decode()
    assert not re.search(r"<script(?![^>]*src=)", page)
    assert not re.search(r"<[^>]+\sstyle=", page)


def test_one_thing_is_solid_red(client, operator, rollout):
    page = client.get(url(rollout)).content.decode()
    assert len(re.findall(r'class="btn danger', page)) == 1


def test_a_viewer_gets_no_links_that_act(client, rollout):
    client.force_login(person("viewer", may=""))
    page = client.get(url(rollout)).content.decode()
    assert "View only." in page
    assert url(rollout, "rollout-act", "rollback") not in page


def test_signed_out_people_are_sent_to_sign_in(client, rollout):
    assert client.get(url(rollout)).status_code == 302


def test_an_unknown_rollout_is_404(client, operator):
    assert client.get("/rollouts/999/").status_code == 404


def test_parts_are_partials_with_the_revision_of_the_status(client, operator, rollout):
    parts = client.get(url(rollout, "rollout-parts")).content.decode()
    status = client.get(url(rollout, "status")).json()
    assert parts.count("<hx-partial") == 6
    assert f'data-revision="{status["revision"]}"' in parts
    assert (status["label"], status["status"]) == ("Baking at 50 %", "progress")


def test_the_series_are_compact_columns(client, operator, rollout):
    body = client.get(url(rollout, "series")).json()
    assert len(body["columns"]["t"]) == 900
    assert body["live"] is True
    assert [mark[1] for mark in body["marks"]] == [1, 2, 3, 4]


def test_the_split_is_an_svg_of_its_own(client, operator, rollout):
    answer = client.get(url(rollout, "split"))
    assert answer["Content-Type"] == "image/svg+xml"
    assert b"xmlns" in answer.content


def test_the_report_has_no_buttons(client, operator, rollout):
    page = client.get(url(rollout, "report")).content.decode()
    assert "Baking at 50 %" in page
    assert "btn danger" not in page


def test_an_odd_span_is_the_usual_one(client, operator, rollout):
    assert client.get(url(rollout) + "?span=%00").status_code == 200


@pytest.mark.parametrize(
    "verb", ["pause", "resume", "promote", "promote-full", "rollback", "abort"]
)
def test_every_question_says_what_will_happen(client, operator, rollout, verb):
    page = client.get(url(rollout, "rollout-act", verb)).content.decode()
    assert '<ul class="will"><li>' in page
    assert f'name="expect" value="{rollout.revision}"' in page
    assert "of traffic (desired 50 %)" in page


def test_the_rollback_dialog_names_target_effect_and_time(client, operator, rollout):
    part = client.get(url(rollout, "rollout-act", "rollback"), headers=HTMX).content.decode()
    assert "Roll back echo-server to 0.9?" in part
    assert "at once (about 2 s). 0.9 has 2/2 healthy tasks." in part
    assert "Roll back to 0.9 now" in part
    assert "<html" not in part


def test_an_unknown_verb_is_404(client, operator, rollout):
    assert client.get(url(rollout, "rollout-act", "explode")).status_code == 404


def test_a_viewer_may_not_even_ask(client, rollout):
    client.force_login(person("viewer", may=""))
    assert client.get(url(rollout, "rollout-act", "rollback")).status_code == 403


def test_pausing_by_form_works_without_script(client, operator, rollout):
    answer = client.post(
        url(rollout, "rollout-act", "pause"),
        {"reason": "looking at p95", "expect": rollout.revision, "request_id": "a" * 32},
    )
    assert (answer.status_code, answer["Location"]) == (302, url(rollout))
    assert Rollout.objects.get().paused
    assert Event.objects.get(verb="pause").reason == "looking at p95"


def test_a_rollback_takes_effect_and_answers_with_the_parts(client, operator, rollout):
    answer = client.post(url(rollout, "rollout-act", "rollback"), {}, headers=HTMX)
    assert b"<hx-partial" in answer.content
    assert Rollout.objects.get().rollback_requested_at is not None


def test_the_same_request_twice_acts_once(client, operator, rollout):
    body = {"request_id": "b" * 32, "expect": rollout.revision}
    for _ in range(2):
        assert client.post(url(rollout, "rollout-act", "pause"), body).status_code == 302
    assert Event.objects.filter(verb="pause").count() == 1


def test_a_page_that_is_out_of_date_gets_the_question_as_it_is_now(client, operator, rollout):
    Rollout.objects.update(paused=True, revision=7)
    body = {"expect": rollout.revision, "request_id": "c" * 32}
    answer = client.post(url(rollout, "rollout-act", "rollback"), body, headers=HTMX)
    text = answer.content.decode()
    assert answer.status_code == 409
    assert "The rollout is now: Paused at 50 %." in text
    assert 'name="expect" value="7"' in text
    assert not Rollout.objects.get().rollback_requested_at


def test_a_question_that_makes_no_sense_any_more_is_refused(client, operator, rollout):
    now = timezone.now()
    Rollout.objects.update(phase="rolled_back", finished_at=now)
    answer = client.post(url(rollout, "rollout-act", "rollback"), {})
    assert answer.status_code == 409
    assert b"The rollout is now: Rolled back to 0.9." in answer.content


def test_trying_again_ticks_and_is_no_second_wish(client, operator, rollout):
    Rollout.objects.update(rollback_requested_at=timezone.now())
    seen = {"expect": rollout.revision}
    answer = client.post(url(rollout, "rollout-act", "rollback"), seen, headers=HTMX)
    assert answer.status_code in (200, 409)
    assert b"was asked for already" not in answer.content
    assert not Event.objects.filter(verb="rollback", user=operator).exists()


def test_a_second_click_at_the_same_time_is_told_of_the_first(client, operator, rollout):
    Rollout.objects.update(rollback_requested_at=timezone.now())
    answer = client.post(url(rollout, "rollout-act", "rollback"), {}, headers=HTMX)
    assert answer.status_code == 409
    assert b"was asked for already" in answer.content
