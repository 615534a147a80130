"""For tests of pages: ServeStatic wants a folder of collected files, empty or not."""

import pytest


@pytest.fixture(autouse=True)
def _static_root(settings, tmp_path):
    settings.STATIC_ROOT = tmp_path
