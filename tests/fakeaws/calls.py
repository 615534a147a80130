"""Who is called: the service and operation of a request, its outcome, and the list of them.

The server's middleware writes here, tests read it by the verb ``calls``.
"""

from __future__ import annotations

import json
import re
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from botocore.exceptions import UnknownServiceError
from botocore.model import ServiceModel
from botocore.session import get_session

# Signing names that differ from the names that boto3 uses.
BOTO3_NAMES = {"elasticloadbalancing": "elbv2", "monitoring": "cloudwatch"}
KEPT = 50_000


@dataclass
class Call:
    """One call of AWS. ``outcome``: "ok" or an error's code; ``at``: seconds since the epoch."""

    service: str
    operation: str
    request: dict[str, Any] = field(default_factory=dict)
    at: float = field(default_factory=time.time)
    outcome: str = ""
    injected: bool = False
    took_effect: bool = True


log: deque[Call] = deque(maxlen=KEPT)


def listed() -> list[dict[str, Any]]:
    """Every call since the last reset, oldest first."""
    return [asdict(call) for call in list(log)]


@lru_cache
def model_of(service: str) -> ServiceModel | None:
    """botocore's model of a service; None for a name that it doesn't know."""
    try:
        return get_session().get_service_model(service)
    except UnknownServiceError:
        return None


def protocol_of(service: str) -> str:
    """As botocore speaks to it: json, query, ec2, rest-json, rest-xml."""
    model = model_of(service)
    return str(model.resolved_protocol) if model else "json"


def named(environ: dict[str, Any], body: bytes) -> Call:
    """The call that a request makes; unknown parts are empty."""
    service = _service(environ)
    target = str(environ.get("HTTP_X_AMZ_TARGET", ""))
    if target:
        return Call(service, target.rsplit(".", 1)[-1], _json(body))
    protocol = protocol_of(service)
    if protocol in ("query", "ec2"):
        form = dict(parse_qsl(body.decode(errors="replace")))
        form.update(parse_qsl(str(environ.get("QUERY_STRING", ""))))
        return Call(service, form.get("Action", ""), form)
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    return Call(service, _operation_of_path(service, method, path), _json(body) | {"_path": path})


def _service(environ: dict[str, Any]) -> str:
    scope = re.search(r"Credential=([^,\s]+)", str(environ.get("HTTP_AUTHORIZATION", "")))
    parts = scope.group(1).split("/") if scope else []
    name = parts[3] if len(parts) > 3 else ""
    return BOTO3_NAMES.get(name, name)


def _json(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body or b"{}")
    except ValueError:  # an upload of bytes
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _operation_of_path(service: str, method: str, path: str) -> str:
    for pattern, verb, name in _routes(service):
        if verb == method and pattern.fullmatch(path):
            return name
    return ""


@lru_cache
def _routes(service: str) -> list[tuple[re.Pattern[str], str, str]]:
    model = model_of(service)
    found = []
    for name in model.operation_names if model else ():
        http = model.operation_model(name).http  # type: ignore[union-attr]
        path = re.sub(r"\\{[^}]+?\\}", "[^/]+", re.escape(http["requestUri"].split("?")[0]))
        found.append((re.compile(path), str(http["method"]), str(name)))
    return found


def outcome_of(status: int, headers: dict[str, str], body: bytes) -> str:
    """ "ok", or the error's code as the client will read it."""
    if status < 400:
        return "ok"
    code = headers.get("x-amzn-errortype", "") or str(_json(body).get("__type", ""))
    if not code:
        found = re.search(rb"<Code>([^<]+)</Code>", body)
        code = found.group(1).decode() if found else str(status)
    return code.split("#")[-1].split(":")[0]
