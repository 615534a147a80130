"""Signing in, the first administrator's link, the account page, health, error pages, roles."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client, RequestFactory
from django.urls import reverse

from rollouts.models import Event
from rollouts.roles import create_groups
from rollouts.web import failures, first_login, session
from rollouts.web.request_id import RequestId

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
PASSWORD = "a-long-enough-one"


@pytest.fixture
def operator():
    return User.objects.create_user("operator", password=PASSWORD)


@pytest.fixture
def state(settings, tmp_path):
    settings.STATE = tmp_path
    return tmp_path


def sign_in(client, username="operator", password=PASSWORD):
    return client.post(reverse("login"), {"username": username, "password": password})


def test_it_signs_in_and_goes_to_the_services(client, operator):
    response = sign_in(client)
    assert (response.status_code, response.url) == (302, "/")


@pytest.mark.parametrize("next_url", ["https://evil.example/", "//evil.example/", "javascript:x"])
def test_it_never_leaves_the_site_after_signing_in(client, operator, next_url):
    fields = {"username": "operator", "password": PASSWORD, "next": next_url}
    assert client.post(reverse("login"), fields).url == "/"


def test_the_eleventh_try_is_refused_even_with_the_right_password(client, operator):
    for _ in range(10):
        assert b"correct username" in sign_in(client, password="wrong").content
    response = sign_in(client)
    assert response.status_code == 200
    assert b"Too many failed attempts" in response.content
    assert Event.objects.filter(verb="login-failed").count() == 10


def test_the_limit_counts_by_address_for_changing_names(client, operator):
    for n in range(10):
        sign_in(client, username=f"guess{n}")
    assert b"Too many" in sign_in(client).content


def test_another_name_from_another_address_is_not_blocked(client, operator):
    for _ in range(10):
        sign_in(client, username="other")
    fields = {"username": "operator", "password": PASSWORD}
    assert client.post(reverse("login"), fields, REMOTE_ADDR="127.0.0.9").status_code == 302


def test_failures_older_than_five_minutes_do_not_count():
    for _ in range(10):
        session.record_failure("operator", "127.0.0.1", NOW)
    assert session.too_many_failures(
        "operator", "127.0.0.1", NOW + timedelta(minutes=4, seconds=59)
    )
    assert not session.too_many_failures("operator", "127.0.0.1", NOW + timedelta(minutes=5))


def test_signing_out_needs_a_post(client, operator):
    client.force_login(operator)
    assert client.get(reverse("logout")).status_code == 405
    assert client.post(reverse("logout")).url == reverse("login")


def test_the_first_link_creates_the_administrator_and_works_once(client, state):
    path = first_login.make_link(datetime.now(UTC))
    assert client.get(path).status_code == 200
    assert not User.objects.exists(), "looking changes nothing"
    assert client.post(path).url == reverse("account")
    admin = User.objects.get()
    assert (admin.username, admin.is_superuser, admin.has_usable_password()) == (
        "admin",
        True,
        False,
    )
    assert Client().post(path).status_code == 404


def test_the_token_is_not_stored_and_the_file_is_private(state):
    path = first_login.make_link(NOW)
    place = state / "first-login"
    assert place.stat().st_mode & 0o777 == 0o600
    assert path.strip("/").split("/")[-1] not in place.read_text()


def test_the_link_ends_after_an_hour(state):
    token = first_login.make_link(NOW).strip("/").split("/")[-1]
    assert first_login.is_valid(token, NOW + timedelta(minutes=59))
    assert not first_login.consume(token, NOW + timedelta(hours=1))


def test_a_new_link_replaces_the_one_before(state):
    old, new = (first_login.make_link(NOW).strip("/").split("/")[-1] for _ in range(2))
    assert not first_login.consume(old, NOW)
    assert first_login.consume(new, NOW)
    assert not first_login.consume(new, NOW)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"sha256": 1, "until": "x"}'])
def test_a_broken_file_lets_nobody_in(state, content):
    (state / "first-login").write_text(content)
    assert not first_login.consume("anything", NOW)


def test_the_first_administrator_is_never_somebody_elses_account():
    User.objects.create_user("admin")
    assert session.first_administrator().username == "admin2"
    assert session.first_administrator().username == "admin2"


def test_the_account_page_keeps_the_look_in_cookies(client, operator):
    client.force_login(operator)
    response = client.post(reverse("account"), {"theme": "dark", "tz": "local", "keys": "off"})
    assert {k: m.value for k, m in response.cookies.items() if k in ("theme", "tz", "keys")} == {
        "theme": "dark",
        "tz": "local",
        "keys": "off",
    }
    page = client.get(reverse("account"))
    assert b'data-theme="dark" data-tz="local" data-keys="off"' in page.content


def test_a_made_up_theme_is_not_printed(client, operator):
    client.force_login(operator)
    client.cookies["theme"] = '"><script>'
    assert b'data-theme="auto"' in client.get(reverse("account")).content


def test_it_changes_the_password_and_stays_signed_in(client, operator):
    client.force_login(operator)
    fields = {
        "old_password": PASSWORD,
        "new_password1": "another-long-one",
        "new_password2": "another-long-one",
    }
    assert client.post(reverse("account"), fields).status_code == 302
    assert client.get(reverse("account")).status_code == 200
    operator.refresh_from_db()
    assert operator.check_password("another-long-one")


def test_a_wrong_old_password_changes_nothing(client, operator):
    client.force_login(operator)
    fields = {
        "old_password": "wrong",
        "new_password1": "another-long-one",
        "new_password2": "another-long-one",
    }
    assert client.post(reverse("account"), fields).status_code == 422
    operator.refresh_from_db()
    assert operator.check_password(PASSWORD)


def test_health_needs_no_sign_in(client):
    response = client.get(reverse("healthz"))
    assert (response.status_code, response.content) == (200, b"ok\n")


def test_the_page_of_a_failure_shows_the_id_and_asks_no_database(django_assert_num_queries, caplog):
    request = RequestFactory().get("/", headers={"X-Request-ID": "abcdefgh-1"})
    with django_assert_num_queries(0):
        response = failures.broken(request)
    assert response.status_code == 500
    assert b"abcdefgh-1" in response.content
    assert "abcdefgh-1" in caplog.text


@pytest.mark.parametrize(
    ("given", "kept"), [("abcdefgh-1", True), ("x\ny", False), ("a" * 65, False)]
)
def test_a_request_keeps_only_an_id_that_looks_like_one(given, kept):
    from django.http import HttpResponse

    answer = RequestId(lambda request: HttpResponse())
    request = RequestFactory().get("/")
    request.META["HTTP_X_REQUEST_ID"] = given
    response = answer(request)
    assert isinstance(response, HttpResponse)
    assert (response["X-Request-ID"] == given) is kept


def test_the_roles_are_created_once_and_then_left_alone():
    Group.objects.all().delete()
    create_groups()
    operator = Group.objects.get(name="operator")
    codes = set(operator.permissions.values_list("codename", flat=True))
    assert {"operate_service", "rollback_rollout", "view_rollout"} <= codes
    assert "provision_mesh" not in codes
    viewer = Group.objects.get(name="viewer")
    assert all(c.startswith("view_") for c in viewer.permissions.values_list("codename", flat=True))
    assert Group.objects.get(name="admin").permissions.filter(codename="provision_mesh").exists()
    operator.permissions.clear()
    create_groups()
    assert not operator.permissions.exists()
