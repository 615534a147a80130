"""The state file `tasks.json`: what is wanted, which ports were given, how often tasks died.

`groups.py` writes it after every change and reads it once at the start.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rollouts.supervisor.child import Exit
from rollouts.supervisor.errors import Refused
from rollouts.supervisor.fields import Fields
from rollouts.supervisor.keeper import Record
from rollouts.supervisor.spec import GroupSpec, read_group, written

FORMAT = 1


@dataclass
class Stored:
    """``records`` by the text of the task id; ``last_port`` is the port given last."""

    groups: list[GroupSpec] = field(default_factory=list)
    records: dict[str, Record] = field(default_factory=dict)
    last_port: int | None = None


def save(path: Path, stored: Stored) -> None:
    """Whole or not at all. Raises OSError.

    It survives a kill of every process. It is not flushed to the disk: after a power cut the
    clients, who know what they want, ask again anyway.
    """
    content = {
        "format": FORMAT,
        "last_port": stored.last_port,
        "groups": [written(group) for group in stored.groups],
        "records": {task: asdict(record) for task, record in stored.records.items()},
    }
    fresh = path.with_suffix(".new")
    # Readable for its owner only: the environment of a task may hold a secret.
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(content, file, indent=1)
    fresh.replace(path)


def load(path: Path) -> Stored:
    """An empty state when there is no file.

    Raises Refused when the file cannot be understood.
    """
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT:
            raise Refused(f"{path} has the format {content['format']}, not {FORMAT}.")
        return Stored(
            groups=[read_group(Fields(group)) for group in content["groups"]],
            records={task: _record(value) for task, value in content["records"].items()},
            last_port=content["last_port"],
        )
    except FileNotFoundError:
        return Stored()
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Refused(f"{path} cannot be understood: {error!r}.") from error


def _record(value: Mapping[str, Any]) -> Record:
    last = value["last_exit"]
    last_exit = Exit(last["code"], last["at"], last["text"], tuple(last["log"])) if last else None
    return Record(value["port"], value["exits"], last_exit)
