"""How the fake CloudFormation calls the other fakes: boto3, inside the same process.

Called by the kinds of resource. A stack's own calls never pass the server's door, so that they are
neither counted nor hit by injected failures; whoever patches moto deeper may ask ``inside()``.
It must not know any kind of resource.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import botocore.session
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError
from moto.core.botocore_stubber import BotocoreStubber

from tests.fakeaws.cloudformation_schema import to_api

_HERE = threading.local()
_BUILDING = threading.Lock()
_MOTO = BotocoreStubber()


class Refused(Exception):
    """What CloudFormation says when a resource cannot be made, changed or removed."""


class _Body(BytesIO):
    def stream(self, **_ignored: Any) -> Iterator[bytes]:
        yield self.read()


def inside() -> bool:
    """True while this thread makes a call for a stack, not for somebody outside."""
    return getattr(_HERE, "depth", 0) > 0


@contextlib.contextmanager
def _inside() -> Iterator[None]:
    _HERE.depth = getattr(_HERE, "depth", 0) + 1
    try:
        yield
    finally:
        _HERE.depth -= 1


def _answer(account: str, request: AWSPreparedRequest) -> AWSResponse:
    request.headers["x-moto-account-id"] = account
    try:
        with _inside():
            answer = _MOTO.process_request(request)
    except (KeyError, TypeError, AttributeError, ValueError, NotImplementedError) as error:
        # What the server would answer with a 500: a hole in moto, said aloud as the stack's reason.
        text = f"<Error><Code>InternalFailure</Code><Message>{error!r}</Message></Error>"
        answer = 500, {}, text
    status, headers, body = answer or (404, {}, "")
    raw = body.encode() if isinstance(body, str) else body
    return AWSResponse(request.url, status, headers, _Body(raw))  # type: ignore[arg-type]


def _answered(account: str, request: AWSPreparedRequest, **_ignored: Any) -> AWSResponse:
    return _answer(account, request)


@functools.lru_cache(maxsize=1)
def _session() -> botocore.session.Session:
    """One for all clients: it keeps the data files that each of them reads."""
    return botocore.session.Session()


@functools.lru_cache(maxsize=256)
def _client(service: str, account: str, region: str) -> Any:
    client = _session().create_client(
        service,
        region_name=region,
        aws_access_key_id="fake",
        aws_secret_access_key="fake",
        endpoint_url=_endpoint(service, region),
        config=Config(retries={"total_max_attempts": 1}, inject_host_prefix=False),
    )
    answer: Any = functools.partial(_answered, account)
    client.meta.events.register_first("before-send.*", answer)
    return client


def _endpoint(service: str, region: str) -> str:
    """AWS's own address, whatever AWS_ENDPOINT_URL of this process says."""
    names = {"ecr": "api.ecr", "elbv2": "elasticloadbalancing"}
    if service == "iam":
        return "https://iam.amazonaws.com"
    return f"https://{names.get(service, service)}.{region}.amazonaws.com"


class Calls:
    """The API of one account and region, with CloudFormation's spelling of properties allowed."""

    def __init__(self, account: str, region: str) -> None:
        self.account = account
        self.region = region

    def __call__(self, service: str, operation: str, /, **values: Any) -> dict[str, Any]:
        """Make a call; leaves out what is None. Raises Refused with AWS's own words."""
        with _BUILDING:
            client = _client(service, self.account, self.region)
        given = {name: value for name, value in values.items() if value is not None}
        shape = client.meta.service_model.operation_model(
            client.meta.method_to_api_mapping[operation]
        ).input_shape
        try:
            answer: dict[str, Any] = getattr(client, operation)(**to_api(given, shape))
        except ClientError as error:
            raise Refused(_sentence(error)) from error
        except (ParamValidationError, ValueError) as error:  # what real CloudFormation calls this
            raise Refused(f"Model validation failed ({error})") from error
        return answer

    def gone(self, service: str, operation: str, /, **values: Any) -> None:
        """Delete something; that it was deleted already is fine."""
        try:
            self(service, operation, **values)
        except Refused as refused:
            if not is_missing(refused):
                raise


def is_missing(refused: Refused) -> bool:
    """True if the refusal says that the thing does not exist."""
    cause = refused.__cause__
    code = cause.response["Error"]["Code"] if isinstance(cause, ClientError) else ""
    return "NotFound" in code or "NoSuch" in code or code == "ClusterNotFoundException"


def _sentence(error: ClientError) -> str:
    said, request = error.response["Error"], error.response["ResponseMetadata"]
    status = request.get("HTTPStatusCode", 400)
    return (
        f"{said.get('Message', '')} (Service: {error.operation_name}, Status Code: {status}, "
        + (f"Error Code: {said['Code']})")
    )
