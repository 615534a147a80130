#!/bin/sh
# Installs the aws command line for the tests that use it, in a virtual environment of its own.
# Without it those tests are skipped, and say so.
set -eu
cd "$(dirname "$0")/.."
venv=.venv-awscli
ready=$venv/ready
if [ -e "$ready" ] && [ "$ready" -nt requirements/awscli.txt ]; then
  exit 0
fi
if .venv/bin/uv venv --quiet --clear --python .venv/bin/python "$venv" &&
  VIRTUAL_ENV=$venv .venv/bin/uv pip install --quiet --require-hashes -r requirements/awscli.txt; then
  touch "$ready"
else
  echo "The aws command line could not be installed: its tests will be skipped."
fi
