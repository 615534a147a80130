"""A person with a browser, without the browser: signs in, keeps cookies, posts forms with CSRF."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from http.cookies import SimpleCookie
from urllib.parse import urlencode


@dataclass(frozen=True)
class Page:
    """An answer; ``at`` is when it was there (CLOCK_MONOTONIC)."""

    status: int
    body: str
    location: str
    at: float


class WebSession:
    """One signed-in person. Not for two threads at once; make one for each."""

    def __init__(self, port: int, timeout_s: float = 20.0) -> None:
        self._port = port
        self._timeout_s = timeout_s
        self._cookies: dict[str, str] = {}

    def sign_in(self, name: str, password: str) -> None:
        self.get("/login/")
        page = self.post("/login/", username=name, password=password)
        assert page.status == 302, f"cannot sign in: {page.status} {page.body[:500]}"

    def twin(self) -> WebSession:
        """Another tab of the same browser, for another thread."""
        twin = WebSession(self._port, self._timeout_s)
        twin._cookies = dict(self._cookies)
        return twin

    def get(self, path: str) -> Page:
        return self._ask("GET", path, "")

    def post(self, path: str, **fields: str) -> Page:
        return self._ask("POST", path, urlencode(fields))

    def _ask(self, method: str, path: str, body: str) -> Page:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._timeout_s)
        headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in self._cookies.items())}
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            headers["X-CSRFToken"] = self._cookies.get("csrftoken", "")
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            at = time.monotonic()
            text = answer.read().decode("utf-8", "replace")
        finally:
            connection.close()
        for line in answer.headers.get_all("Set-Cookie") or []:
            self._cookies |= {k: morsel.value for k, morsel in SimpleCookie(line).items()}
        return Page(answer.status, text, answer.headers.get("Location") or "", at)
