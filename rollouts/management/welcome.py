"""What ``manage.py up`` says once things are up: how to sign in, and where the mesh answers."""

from __future__ import annotations

import time
from collections.abc import Iterator

from django.conf import settings
from django.contrib.auth.models import User
from django.db import DatabaseError

from rollouts import clock
from rollouts.models import Stack
from rollouts.web.first_login import make_link

POLL_S = 0.3


def dashboard() -> str:
    return f"http://{settings.SHOWN_HOST}:{settings.WEB_PORT}"


def sign_in_lines() -> Iterator[str]:
    """A one-time link while nobody has signed in yet, else just the address."""
    yield ""
    yield f"  Dashboard   {dashboard()}"
    if not _somebody_can_sign_in():
        link = make_link(clock.moment().now)
        yield f"  Sign in     {dashboard()}{link}   (once, within an hour)"


def _somebody_can_sign_in() -> bool:
    administrators = User.objects.filter(is_active=True, is_superuser=True)
    return any(user.has_usable_password() for user in administrators)


def mesh_lines() -> Iterator[str]:
    """The public endpoint and its first answer, as soon as the stack is ready; or why it failed."""
    if settings.AWS_FAKE:
        yield f"  Fake AWS    {settings.AWS_ENDPOINT_URL}   (nothing on it is real)"
        yield f"  Begin here  {dashboard()}/infrastructure/"
        return
    while True:
        try:
            stack = Stack.objects.filter(wanted=Stack.PRESENT).first()
        except DatabaseError:
            stack = None
        if stack is not None and stack.phase in ("ready", "failed"):
            break
        time.sleep(POLL_S)
    if stack.phase == "failed":
        yield f"  Mesh        failed: {stack.reason}"
        return
    yield f"  Endpoint    {stack.outputs.get('endpoint')}"
    yield f"              {stack.outputs.get('answer')}"
