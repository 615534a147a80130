"""A supervisor of its own for the tests: `python -m tests.supervisor.launch STATE_DIR FIXED`.

FIXED is a JSON list of the fields of `Process`. Prints one line for each status.
"""

import json
import sys
from pathlib import Path
from typing import Any

from rollouts.supervisor.errors import AlreadyRunning
from rollouts.supervisor.fixed import Process
from rollouts.supervisor.supervisor import run


def read(fields: dict[str, Any]) -> Process:
    ready = fields.pop("ready", None)
    if isinstance(ready, str) and ready != "exit":
        ready = Path(ready)
    ports = tuple(fields.pop("ports", ()))
    return Process(argv=tuple(fields.pop("argv")), ready=ready, ports=ports, **fields)


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(run([read(each) for each in json.loads(sys.argv[2])], Path(sys.argv[1]), say))
    except AlreadyRunning as error:
        sys.exit(str(error))
