"""Runs in the environment of the ``aws`` command line: one command for each line of JSON on stdin.

The commands are those of the command line itself; only its start, a second each, is paid once.
Answers with one line of JSON: {"code", "out", "err"}.
"""

import contextlib
import io
import json
import sys

from awscli.clidriver import create_clidriver  # type: ignore[import-not-found]


def main() -> None:
    for line in sys.stdin:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = create_clidriver().main(json.loads(line))
        answer = {"code": code, "out": out.getvalue(), "err": err.getvalue()}
        print(json.dumps(answer), flush=True)


main()
