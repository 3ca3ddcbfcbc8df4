"""The one fixture that the tests of the compilers share; what else they share is in `compiled_models`."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def warm():
    """TVM imported once into the test's process, so that forked children need not."""
