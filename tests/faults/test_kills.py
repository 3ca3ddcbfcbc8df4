"""kill -9 at random moments of a real build of small models: `bench/kills.py`, with fewer kills than a release gets."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = Path(__file__).parents[2] / "bench" / "kills.py"


@pytest.mark.slow
@pytest.mark.tvm
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found by /proc")
def test_every_output_is_right_and_no_finished_work_is_done_again():
    seed = str(random.SystemRandom().randrange(1 << 32))
    done = subprocess.run(
        [sys.executable, KILLS, "--kills", "10", "--seed", seed], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 of 10 right" in done.stdout
