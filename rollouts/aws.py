"""The one place that makes boto3 clients, calls AWS and turns its errors into ours.

Adapters of the kinds ``ecs``, ``cloudformation``, ``appmesh``, ``alb`` and the image builders call
``call`` and ``pages``; nobody else imports boto3. Clients are made once per account and process.
Nothing here waits for a state, and nothing here logs or returns a credential.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import boto3
from botocore import exceptions as botocore_errors
from botocore.config import Config
from botocore.credentials import DeferredRefreshableCredentials
from botocore.parsers import ResponseParserError
from botocore.session import Session as CoreSession
from botocore.session import get_session
from django.conf import settings

from rollouts import errors
from rollouts.errors import AwsError, InvalidInput

log = logging.getLogger(__name__)
T = TypeVar("T")

# A person waits for urgent calls, so each must end soon; the next tick is the real retry.
CONNECT_S = 2.0
READ_S = {True: 4.0, False: 10.0}  # urgent or not
ATTEMPTS = 2
# After a call that was throttled or got no answer, those that nobody waits for are not made.
SLOW_DOWN_S = 2.0
EVERYTHING = "*"
SESSION_NAME = "meshui"
REFRESHED_S = 3600

_urgent: ContextVar[bool] = ContextVar("urgent", default=False)
_once: ContextVar[bool] = ContextVar("once", default=False)
_lock = threading.Lock()
_slow_until: dict[tuple[Account, str], float] = {}


@dataclass(frozen=True)
class Account:
    """Where and as whom: a region, and a role to assume (empty: the process's own identity)."""

    region: str
    role_arn: str = ""
    external_id: str = ""


def account_of(mesh_settings: Mapping[str, Any]) -> Account:
    """The account of a mesh. Raises InvalidInput when it names no region, or is of the fake."""
    if mesh_settings.get("fake") and not settings.AWS_FAKE:
        raise InvalidInput("fake", "This mesh was made on the fake AWS; it is not on the real one.")
    region = str(mesh_settings.get("region") or settings.AWS_DEFAULT_REGION)
    if not region:
        raise InvalidInput("region", "The mesh names no AWS region.")
    return Account(
        region,
        str(mesh_settings.get("role_arn") or ""),
        str(mesh_settings.get("external_id") or ""),
    )


@contextmanager
def urgent() -> Iterator[None]:
    """Calls inside are waited for, as those of a rollback: they go out also while AWS throttles."""
    token = _urgent.set(True)
    try:
        yield
    finally:
        _urgent.reset(token)


@contextmanager
def once() -> Iterator[None]:
    """Calls inside are sent once: a write that got no answer must not be sent again, unseen.

    For what has no compare-and-set of its own, where a second copy may arrive after newer writes.
    """
    token = _once.set(True)
    try:
        yield
    finally:
        _once.reset(token)


def longest_s() -> float:
    """Seconds until a call made here and now has ended, sent once."""
    return CONNECT_S + READ_S[_urgent.get()]


def call(account: Account, service: str, operation: str, /, **arguments: Any) -> dict[str, Any]:
    """One API call, ``operation`` in snake_case. Raises AwsError; see ``errors`` for the kinds."""

    def ask(by: Any) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(by, operation)(**arguments)
        return answer

    return _renewing(account, service, operation, ask, once=_once.get())


def pages(
    account: Account, service: str, operation: str, key: str, /, **arguments: Any
) -> list[dict[str, Any] | str | Any]:
    """Everything under ``key`` of all pages of an operation. Raises AwsError."""

    def ask(by: Any) -> list[Any]:
        told = by.get_paginator(operation).paginate(**arguments)
        return [each for page in told for each in page.get(key, [])]

    return _renewing(account, service, operation, ask)


def _renewing(
    account: Account, service: str, operation: str, ask: Callable[[Any], T], *, once: bool = False
) -> T:
    """What ``ask`` gets of a client; of a new one when the credentials have expired."""
    try:
        return _asked(account, service, operation, ask, once=once)
    except errors.AwsExpired:
        forget()  # credentials may have been renewed in a file or by the role
        return _asked(account, service, operation, ask, once=once)


def _asked(
    account: Account, service: str, operation: str, ask: Callable[[Any], T], *, once: bool
) -> T:
    _hold_back(account, service)
    try:
        return ask(client(account, service, urgent=_urgent.get(), once=once))
    except KNOWN as error:
        raise _noted(_translated(error, account, service, operation)) from error


def client(account: Account, service: str, *, urgent: bool = False, once: bool = False) -> Any:
    """The client of this process for a service; thread-safe to use, made under a lock."""
    with _lock:
        return _client(account, service, urgent, once, endpoint())


def endpoint() -> str:
    """The address that replaces AWS (``AWS_ENDPOINT_URL``); empty: the real one."""
    return str(settings.AWS_ENDPOINT_URL)


def forget() -> None:
    """Drop sessions, clients and slow-downs: after a fork, and between tests."""
    with _lock:
        _client.cache_clear()
        _session.cache_clear()
        _slow_until.clear()


@lru_cache(maxsize=256)
def _client(account: Account, service: str, urgent: bool, once: bool, at: str) -> Any:
    try:
        made: Any = _session(account, at).client(
            service,
            endpoint_url=at or None,
            config=_config(account, READ_S[urgent], at, attempts=1 if once else ATTEMPTS),
        )
    except botocore_errors.UnknownServiceError as error:
        raise errors.AwsRefused(
            f"The installed botocore does not know {service} any more: AWS has ended that service. "
            "Install the botocore version of requirements/base.txt, or choose another router.",
            code="UnknownService",
        ) from error
    return made


def _config(account: Account, read_s: float, at: str, *, attempts: int) -> Config:
    return Config(
        region_name=account.region,
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=CONNECT_S,
        read_timeout=read_s,
        max_pool_connections=20,
        user_agent_extra="meshui",
        # A prefix like "data-" in front of a replaced address names a host that does not exist.
        inject_host_prefix=not at,
    )


@lru_cache(maxsize=64)
def _session(account: Account, at: str) -> Any:
    """One session per account: each costs some 10 MB that are never given back."""
    core = _own(account)
    if account.role_arn:
        core._credentials = _assumed(account, at)  # type: ignore[attr-defined]
    return boto3.Session(botocore_session=core, region_name=account.region)


def _own(account: Account) -> CoreSession:
    """A session with the identity of this process."""
    core = get_session()
    core.set_config_variable("region", account.region)
    if settings.AWS_FAKE:  # real credentials never go to a fake
        core.set_credentials("fake", "fake")
    return core


def _assumed(account: Account, at: str) -> DeferredRefreshableCredentials:
    """Credentials of the role, renewed by themselves before they end.

    Asked for with the process's own identity, which is another session's: a session whose
    credentials are these would wait for itself.
    """
    own = _own(account)

    def fetch() -> dict[str, Any]:
        sts: Any = own.create_client(
            "sts",
            endpoint_url=at or None,
            config=_config(account, READ_S[True], at, attempts=ATTEMPTS),
        )
        extra = {"ExternalId": account.external_id} if account.external_id else {}
        given = sts.assume_role(
            RoleArn=account.role_arn,
            RoleSessionName=SESSION_NAME,
            DurationSeconds=REFRESHED_S,
            **extra,
        )["Credentials"]
        return {
            "access_key": given["AccessKeyId"],
            "secret_key": given["SecretAccessKey"],
            "token": given["SessionToken"],
            "expiry_time": given["Expiration"].isoformat(),
        }

    return DeferredRefreshableCredentials(fetch, method="assume-role")


# --- slowing down


def _hold_back(account: Account, service: str) -> None:
    """Make no call that nobody waits for while AWS throttles this service, or does not answer."""
    if _urgent.get():
        return
    now = time.monotonic()
    if (left := _slow_until.get((account, EVERYTHING), 0.0) - now) > 0:
        raise errors.AwsUnreachable(
            f"AWS did not answer in {account.region}; asking again in {left:.0f} s.",
            code="SlowDown",
            retry_after_s=left,
        )
    if (left := _slow_until.get((account, service), 0.0) - now) > 0:
        raise errors.AwsThrottled(
            f"AWS is slowing {service} down; going on in {left:.0f} s.",
            code="SlowDown",
            retry_after_s=left,
        )


def _note_slow(account: Account, service: str) -> None:
    _slow_until[account, service] = time.monotonic() + SLOW_DOWN_S


# --- errors

KNOWN = (botocore_errors.ClientError, botocore_errors.BotoCoreError, ResponseParserError)
UNREACHABLE = (
    botocore_errors.EndpointConnectionError,
    botocore_errors.ConnectTimeoutError,
    botocore_errors.ProxyConnectionError,
)
# The call may have arrived: nobody knows whether a write took effect.
CUT_OFF = (
    botocore_errors.ReadTimeoutError,
    botocore_errors.ConnectionClosedError,
    botocore_errors.HTTPClientError,
)
NO_CREDENTIALS = (
    botocore_errors.NoCredentialsError,
    botocore_errors.PartialCredentialsError,
    botocore_errors.CredentialRetrievalError,
    botocore_errors.ProfileNotFound,
)
EXPIRED = ("ExpiredToken", "RequestExpired", "InvalidClientTokenId", "UnrecognizedClient",
           "InvalidSignature", "SignatureDoesNotMatch", "RequestTimeTooSkewed")  # fmt: skip
DENIED = ("AccessDenied", "Unauthorized", "Forbidden", "NotAuthorized", "AuthFailure")
THROTTLED = ("Throttl", "TooManyRequests", "RequestLimitExceeded", "SlowDown",
             "RequestThrottled", "PriorRequestNotComplete")  # fmt: skip
GONE = ("NotFound", "NoSuch", "DoesNotExist", "ServiceNotActive", "Missing")
CONFLICT = ("Conflict", "ResourceInUse", "InUse", "OperationInProgress", "AlreadyExists",
            "UpdateInProgress", "Duplicate", "TargetNotConnected")  # fmt: skip
LIMIT = ("LimitExceeded", "QuotaExceeded", "TooMany", "ServiceQuota", "InsufficientCapacity")


def _translated(error: Exception, account: Account, service: str, operation: str) -> AwsError:
    """Our error, with a sentence for the person who reads it."""
    what = f"{service}:{_api_name(operation)}"
    where = f"{account.region}{f' at {endpoint()}' if endpoint() else ''}"
    if isinstance(error, botocore_errors.ClientError):
        if error.operation_name == "AssumeRole":  # on the way to the call that was asked for
            what = "sts:AssumeRole"
        return _answered(error, account, service, what)
    if isinstance(error, NO_CREDENTIALS):
        return errors.AwsDenied(
            f"There are no AWS credentials for {where}: {what} was not called.",
            code="NoCredentials",
        )
    if isinstance(error, UNREACHABLE):
        _note_slow(account, EVERYTHING)
        return errors.AwsUnreachable(f"AWS does not answer in {where}: {what}.", code="Connect")
    if isinstance(error, CUT_OFF):
        _note_slow(account, EVERYTHING)
        return errors.AwsUnreachable(
            f"AWS did not finish its answer in {where}: {what} may have taken effect.",
            code="ReadTimeout",
            maybe_done=True,
        )
    if isinstance(error, botocore_errors.ParamValidationError):
        return errors.AwsRefused(f"meshui asked {what} wrongly: {error}", code="ParamValidation")
    return errors.AwsOdd(f"AWS answered {what} oddly: {type(error).__name__}.", code="Odd",
                         maybe_done=True)  # fmt: skip


def _noted(error: AwsError) -> AwsError:
    """Log it, with what AWS's support asks for. That a thing is not there is often an answer."""
    quiet = isinstance(error, errors.AwsGone | errors.AwsNothingToDo)
    level = logging.DEBUG if quiet else logging.WARNING
    log.log(level, "%s [%s, request %s]", error, error.code, error.request_id or "unknown")
    return error


def _answered(
    error: botocore_errors.ClientError, account: Account, service: str, what: str
) -> AwsError:
    said = error.response.get("Error", {})
    code, message = str(said.get("Code", "")), str(said.get("Message", "")).strip()
    meta = error.response.get("ResponseMetadata", {})
    request_id = str(meta.get("RequestId", ""))
    status = int(meta.get("HTTPStatusCode", 0) or 0)
    known: dict[str, Any] = {"code": code, "request_id": request_id}
    if _is(code, THROTTLED):
        _note_slow(account, service)
        return errors.AwsThrottled(f"AWS is slowing {service} down; going on in a moment.",
                                   retry_after_s=SLOW_DOWN_S, **known)  # fmt: skip
    if _is(code, EXPIRED):
        return errors.AwsExpired(
            f"The AWS session has ended, or this machine's clock differs ({code}): {what}.", **known
        )
    if _is(code, DENIED):
        role = f" The role is {account.role_arn}." if account.role_arn else ""
        return errors.AwsDenied(
            f"AWS does not allow {what}.{role} Add {what} to its policy. ({message})", **known
        )
    if "No updates are to be performed" in message or "didn't contain changes" in message:
        return errors.AwsNothingToDo(message, **known)
    if _is(code, GONE) or (code == "ValidationError" and "does not exist" in message):
        return errors.AwsGone(f"{what}: it is gone, changed outside meshui? ({message})", **known)
    if _is(code, LIMIT):
        return errors.AwsLimit(f"A quota of AWS is reached: {what}. ({message})", **known)
    if _is(code, CONFLICT):
        return errors.AwsConflict(f"{what}: something else holds it. ({message})", **known)
    if status >= 500 or not code or code.isdigit():
        return errors.AwsOdd(f"AWS answered {what} with {status or code}; request {request_id}.",
                             maybe_done=True, **known)  # fmt: skip
    return errors.AwsRefused(f"AWS refused {what}: {(message or code).rstrip('.')}.", **known)


def _is(code: str, parts: Sequence[str]) -> bool:
    return any(part in code for part in parts)


def _api_name(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))
