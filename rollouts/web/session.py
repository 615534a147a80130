"""Signing in and out, the first administrator's link, the account page, and /healthz/.

Failed sign-ins are Events: every web process sees the same count, and so does the audit page.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import count

from django.contrib import messages
from django.contrib.auth import login, update_session_auth_hash
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm, SetPasswordForm
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.db import DatabaseError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods

from rollouts.models import Event
from rollouts.web import first_login
from rollouts.web.context import THEMES, ZONES

FAILURES_MOST = 10
FAILURES_WITHIN = timedelta(minutes=5)
TOO_MANY = "Too many failed attempts. Wait five minutes, then try again."
YEAR_S = 31_536_000


def too_many_failures(username: str, address: str, now: datetime) -> bool:
    """Ten failures of the user name, or from the address, in the last five minutes."""
    recent = Event.objects.filter(verb="login-failed", at__gt=now - FAILURES_WITHIN)
    by_name = recent.filter(actor=username[:150]).count()
    by_address = recent.filter(reason=_from(address)).count()
    return max(by_name, by_address) >= FAILURES_MOST


def record_failure(username: str, address: str, now: datetime) -> None:
    Event.objects.create(
        at=now,
        actor=username[:150],
        source="web",
        verb="login-failed",
        severity="warn",
        text="could not sign in",
        reason=_from(address),
    )


def _from(address: str) -> str:
    return f"from {address}"


class LimitedForm(AuthenticationForm):
    """Looks at the count before the password, so that a blocked guess says nothing about it.

    Django hashes a password for unknown users as well: both answers take the same time.
    """

    def clean(self) -> dict[str, object]:
        username = str(self.cleaned_data.get("username", ""))
        address = self.request.META.get("REMOTE_ADDR", "") if self.request else ""
        now = timezone.now()
        if too_many_failures(username, address, now):
            self.add_error(None, TOO_MANY)
            return self.cleaned_data
        return super().clean()

    def get_invalid_login_error(self):  # type: ignore[no-untyped-def]
        address = self.request.META.get("REMOTE_ADDR", "") if self.request else ""
        record_failure(str(self.cleaned_data.get("username", "")), address, timezone.now())
        return super().get_invalid_login_error()


class SignIn(LoginView):
    form_class = LimitedForm
    redirect_authenticated_user = True


@login_not_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def enter(request: HttpRequest, token: str) -> HttpResponse:
    """GET shows one button (a link preview must not use the link up), POST signs in."""
    now = timezone.now()
    if request.method != "POST":
        valid = first_login.is_valid(token, now)
        return render(
            request, "rollouts/enter.html", {"valid": valid}, status=200 if valid else 404
        )
    if not first_login.consume(token, now):
        return render(request, "rollouts/enter.html", {"valid": False}, status=404)
    user = first_administrator()
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    Event.objects.create(
        at=now,
        user=user,
        actor=user.username,
        source="web",
        verb="enter",
        text="entered with the one-time link",
    )
    if not user.has_usable_password():
        messages.info(
            request, "Set a password now: the link that brought you here works only once."
        )
        return redirect("account")
    return redirect("services")


@transaction.atomic
def first_administrator() -> User:
    """The oldest superuser, or a new one named admin (admin2 … when taken) without a password."""
    known = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    if known is not None:
        return known
    names = (f"admin{n if n > 1 else ''}" for n in count(1))
    name = next(name for name in names if not User.objects.filter(username=name).exists())
    user = User(username=name, is_staff=True, is_superuser=True)
    user.set_unusable_password()
    user.save()
    return user


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    """How pages look for this browser (cookies), and the password."""
    user = get_object_or_404(User, username=request.user.get_username())
    kind = PasswordChangeForm if user.has_usable_password() else SetPasswordForm
    changing = request.method == "POST" and "new_password1" in request.POST
    if request.method == "POST" and not changing:
        return _keep_settings(request)
    form = kind(user, request.POST if changing else None)
    for field in form.fields.values():
        field.widget.attrs.pop("autofocus", None)
    if changing and form.is_valid():
        form.save()
        update_session_auth_hash(request, user)
        messages.success(request, "The password is changed. Your other sessions are signed out.")
        return redirect("account")
    status = 422 if changing else 200
    return render(request, "rollouts/account.html", {"form": form}, status=status)


def _keep_settings(request: HttpRequest) -> HttpResponse:
    response = redirect("account")
    for name, allowed in {"theme": THEMES, "tz": ZONES, "keys": ("on", "off")}.items():
        value = request.POST.get(name, "")
        if value in allowed:
            # Scripts read and write these too; they carry no secret.
            response.set_cookie(
                name, value, max_age=YEAR_S, samesite="Lax", secure=request.is_secure()
            )
    messages.success(request, "Kept for this browser.")
    return response


@login_not_required
@never_cache
@require_GET
def healthz(request: HttpRequest) -> HttpResponse:
    """200 "ok" when the database answers, else 503."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return HttpResponse("the database does not answer\n", "text/plain", 503)
    return HttpResponse("ok\n", "text/plain")
