"""Failures on purpose: of AWS calls by rule, of tasks by family or image, of stack resources.

The server's middleware asks ``draw`` for each call. Others read the mappings below.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any
from xml.sax.saxutils import escape

from tests.fakeaws import world
from tests.fakeaws.calls import Call, protocol_of

FAIL_FAMILIES: dict[str, str] = {}
"""Family of a task definition → the reason with which each of its tasks fails to start."""
CRASHES: dict[str, int] = {}
"""Family → the exit code with which the first container of its RUNNING tasks ends."""
UNHEALTHY: set[str] = set()
"""Families whose tasks run but never pass their health check."""
FAIL_IMAGES: dict[str, str] = {}
"""Part of an image's name → the reason with which its pull fails."""
FAIL_RESOURCES: dict[str, str] = {}
"""Logical id in a stack → the reason with which its creation fails."""
FAIL_BUILDS: dict[str, str] = {}
"""Name of a CodeBuild project → the phase that fails."""

DROPS = ("timeout-before", "timeout-after", "reset-before", "reset-after")
SILENCE_S = 30.0

# The same refusal has another name and status in older protocols and in App Mesh.
ALIASES = {
    "query": {
        "ThrottlingException": ("Throttling", 400),
        "AccessDeniedException": ("AccessDenied", 403),
        "ExpiredTokenException": ("ExpiredToken", 403),
    },
    "ec2": {
        "ThrottlingException": ("RequestLimitExceeded", 503),
        "AccessDeniedException": ("UnauthorizedOperation", 403),
        "ExpiredTokenException": ("RequestExpired", 400),
    },
    "rest-json": {
        "ThrottlingException": ("TooManyRequestsException", 429),
        "AccessDeniedException": ("ForbiddenException", 403),
        "ExpiredTokenException": ("ExpiredTokenException", 403),
    },
}
SENTENCES = {
    "ThrottlingException": "Rate exceeded",
    "AccessDeniedException": "User: arn:aws:iam::123456789012:role/meshui is not authorized to"
    " perform: {action}",
    "ExpiredTokenException": "The security token included in the request is expired",
    "500": "An internal error has occurred",
}


@dataclass
class Rule:
    """Which calls fail, how, how often (``rate``), and how many times more (None: for ever).

    ``service`` and ``operation`` may be patterns, as "Create*". ``seconds``: how long a time-out
    says nothing, unless the client hangs up before.
    """

    service: str = "*"
    operation: str = "*"
    error: str = "ThrottlingException"
    rate: float = 1.0
    times: int | None = None
    seed: int | None = None
    seconds: float = SILENCE_S
    dice: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)

    def hits(self, call: Call) -> bool:
        """True when this call fails; uses up one of ``times``."""
        asked = ((call.service, self.service), (call.operation, self.operation))
        if not all(fnmatchcase(name, pattern) for name, pattern in asked):
            return False
        if self.times == 0 or self.dice.random() >= self.rate:
            return False
        if self.times is not None:
            self.times -= 1
        return True


rules: list[Rule] = []


def draw(call: Call) -> Rule | None:
    """The first rule that lets this call fail."""
    with world.LOCK:
        return next((rule for rule in rules if rule.hits(call)), None)


def clear() -> None:
    """Nothing fails on purpose any more."""
    rules.clear()
    for chosen in (FAIL_FAMILIES, FAIL_IMAGES, FAIL_RESOURCES, FAIL_BUILDS, CRASHES, UNHEALTHY):
        chosen.clear()


def refusal(call: Call, error: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body with which the called service would say ``error``."""
    protocol = protocol_of(call.service)
    action = f"{call.service}:{call.operation}"
    sentence = SENTENCES.get(error, "Refused on purpose").format(action=action)
    code, status = ALIASES.get(protocol, {}).get(error, (error, 400))
    if error == "500":
        code, status = "InternalFailure", 500
    if protocol in ("query", "ec2", "rest-xml"):
        return status, {"Content-Type": "text/xml"}, _xml(protocol, code, sentence)
    headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-errortype": code}
    return status, headers, _json(code, sentence)


def _json(code: str, sentence: str) -> bytes:
    body: dict[str, Any] = {"__type": code, "message": sentence}
    return json.dumps(body).encode()


def _xml(protocol: str, code: str, sentence: str) -> bytes:
    error = f"<Code>{escape(code)}</Code><Message>{escape(sentence)}</Message>"
    if protocol == "ec2":
        text = (
            f"<Response><Errors><Error>{error}</Error></Errors><RequestID>0</RequestID></Response>"
        )
    else:
        text = (
            f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error>"
            "<RequestId>0</RequestId></ErrorResponse>"
        )
    return text.encode()
