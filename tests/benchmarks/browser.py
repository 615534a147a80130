"""A logged-in client: a session, a CSRF token and one connection that stays open."""

from __future__ import annotations

import re
import time
from http.client import HTTPConnection, HTTPResponse
from http.cookies import SimpleCookie
from urllib.parse import urlencode

from django.conf import settings

TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Browser:
    def __init__(self, username: str, password: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", settings.WEB_PORT, timeout=30)
        self._cookies: SimpleCookie = SimpleCookie()
        self._token = ""
        self.get("/login/")
        self.post("/login/", username=username, password=password)
        self.get("/account/")

    def get(self, path: str) -> str:
        """The page, on a fresh connection; its CSRF token is remembered for the next post."""
        self._connection.close()  # the server closes idle ones, and at the worst moment
        body = self._exchange("GET", path, "")[1]
        if found := TOKEN.search(body):
            self._token = found[1]
        return body

    def post(self, path: str, **fields: str) -> tuple[float, float]:
        """When the first byte left and when the answer was there (seconds, monotonic).

        Raises RuntimeError unless the answer is 200 or a redirect, as after every act.
        """
        body = urlencode({"csrfmiddlewaretoken": self._token, **fields})
        began = time.monotonic()
        status, text = self._exchange("POST", path, body)
        ended = time.monotonic()
        if status not in (200, 302):
            raise RuntimeError(f"POST {path} answered {status}: {text[:1000]}")
        return began, ended

    def _exchange(self, method: str, path: str, body: str) -> tuple[int, str]:
        headers = {"Cookie": self._cookies.output(attrs=[], header="", sep=";").strip()}
        if body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._connection.request(method, path, body.encode() or None, headers)
        response: HTTPResponse = self._connection.getresponse()
        text = response.read().decode()
        for value in response.headers.get_all("Set-Cookie") or ():
            self._cookies.load(value)
        return response.status, text

    def close(self) -> None:
        self._connection.close()
