#!/bin/sh
# Makes sure that a Chromium for the browser tests is there: the system's, or one by apt-get as
# root, or Playwright's own. Says in one sentence what to do when none of these works.
set -u
for name in chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null 2>&1 && exit 0
done
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  echo "Installing Chromium with apt-get ..."
  wait="-o DPkg::Lock::Timeout=300"
  apt-get $wait update -qq >/dev/null 2>&1
  if DEBIAN_FRONTEND=noninteractive apt-get $wait install -y -qq --no-install-recommends \
      chromium fonts-dejavu-core >/dev/null 2>&1; then
    exit 0
  fi
fi
.venv/bin/python -m playwright install chromium >/dev/null 2>&1 && exit 0
echo "No Chromium for the browser tests: install the package chromium, then run make test again."
exit 1
