"""What ECS does with ``secrets`` of a container: reads them before the container starts.

``lifecycle`` calls ``with_secrets``. moto's Secrets Manager is good enough as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from moto.core.exceptions import JsonRESTError, ServiceException
from moto.secretsmanager.models import secretsmanager_backends
from moto.ssm.models import ssm_backends

PULLING = (
    "ResourceInitializationError: unable to pull secrets or registry auth: execution resource"
    " retrieval failed: unable to retrieve secret from"
)


class SecretUnavailable(Exception):
    """The sentence is the task's stoppedReason."""


def install() -> None:
    """Nothing of moto needs a patch."""


def with_secrets(definitions: list[dict[str, Any]], account: str) -> list[dict[str, Any]]:
    """Copies of container definitions with the values of their secrets in ``environment``.

    Raises SecretUnavailable for a secret that doesn't exist or has no value yet.
    """
    return [_resolved(definition, account) for definition in definitions]


def _resolved(definition: Mapping[str, Any], account: str) -> dict[str, Any]:
    known = [
        {"name": each["name"], "value": value_of(str(each["valueFrom"]), account)}
        for each in definition.get("secrets") or ()
    ]
    return {**definition, "environment": [*(definition.get("environment") or ()), *known]}


def value_of(reference: str, account: str) -> str:
    """The value that a ``valueFrom`` names: ARN, ARN:key::, or a parameter's ARN."""
    parts = reference.split(":")
    if len(parts) < 6:
        raise SecretUnavailable(f"{PULLING} ssm: invalid reference {reference}")
    if parts[2] == "ssm":
        return _parameter(parts, account)
    arn, rest = ":".join(parts[:7]), [*parts[7:], "", "", ""]
    key, stage, version = rest[:3]
    try:
        backend = secretsmanager_backends[account][parts[3]]
        asked: Any = version or None
        # moto tells "not asked for" from "" by None, whatever its annotation says.
        found = backend.get_secret_value(arn, asked, stage or "AWSCURRENT")
    except (ServiceException, JsonRESTError) as error:
        raise SecretUnavailable(f"{PULLING} asm: {error.message}") from error
    text = str(found.get("SecretString", ""))
    return _key_of(text, key, arn) if key else text


def _key_of(text: str, key: str, arn: str) -> str:
    try:
        return str(json.loads(text)[key])
    except (ValueError, KeyError, TypeError) as error:
        raise SecretUnavailable(
            f"{PULLING} asm: retrieved secret from Secrets Manager did not contain json key"
            f" {key}: {arn}"
        ) from error


def _parameter(parts: list[str], account: str) -> str:
    name = parts[5].removeprefix("parameter")
    backend = ssm_backends[account][parts[3]]
    found = backend.get_parameter(name) or backend.get_parameter(name.lstrip("/"))
    if found is None:
        raise SecretUnavailable(f"{PULLING} ssm: invalid ssm parameters: {name}")
    return str(found.value)
