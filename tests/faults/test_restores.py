"""A matrix restored from the store over and over, two tasks at a time: `bench/restores.py`, with fewer rounds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RESTORES = Path(__file__).parents[2] / "bench" / "restores.py"


@pytest.mark.slow
@pytest.mark.tvm
def test_every_restore_ends_well():
    done = subprocess.run([sys.executable, RESTORES, "--times", "30"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "30 of 30 right" in done.stdout
