"""What containers write, in CloudWatch Logs, as the ``awslogs`` driver puts it there.

``lifecycle`` calls it. Streams are <prefix>/<container>/<task id>, as the console links to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from moto.core.utils import unix_time_millis, utcnow
from moto.logs.models import logs_backends


def missing_group(definitions: Iterable[Mapping[str, Any]], account: str) -> str:
    """Why a task whose log group doesn't exist cannot start; empty when it can."""
    for options in map(_options, definitions):
        group, region = options.get("awslogs-group"), options.get("awslogs-region", "")
        if not group or options.get("awslogs-create-group") == "true":
            continue
        if group not in logs_backends[account][region].groups:
            return (
                "ResourceInitializationError: failed to validate logger args: create stream has"
                " been retried 1 times: failed to create Cloudwatch log stream:"
                " ResourceNotFoundException: The specified log group does not exist."
            )
    return ""


def write(definition: Mapping[str, Any], task_id: str, account: str, lines: Iterable[str]) -> None:
    """Add lines to the stream of one container; nothing without the ``awslogs`` driver."""
    options = _options(definition)
    group_name, prefix = options.get("awslogs-group"), options.get("awslogs-stream-prefix")
    events = [{"timestamp": int(unix_time_millis(utcnow())), "message": line} for line in lines]
    if not group_name or not prefix or not events:
        return
    backend = logs_backends[account][options["awslogs-region"]]
    backend.ensure_log_group(group_name)
    group, stream = backend.groups[group_name], f"{prefix}/{definition['name']}/{task_id}"
    if stream not in group.streams:
        group.create_log_stream(stream)
    group.put_log_events(stream, events)


def _options(definition: Mapping[str, Any]) -> dict[str, str]:
    settings = definition.get("logConfiguration") or {}
    if settings.get("logDriver") != "awslogs":
        return {}
    return dict(settings.get("options") or {})
