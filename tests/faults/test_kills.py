"""kill -9 at random moments: `bench/kills.py` and `bench/containers.py`, with fewer kills than a release gets."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
NO_NAMESPACE = 77


@pytest.mark.slow
@pytest.mark.tvm
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found by /proc")
def test_every_output_is_right_and_no_finished_work_is_done_again():
    seed = str(random.SystemRandom().randrange(1 << 32))
    words = [sys.executable, BENCH / "kills.py", "--kills", "5", "--seed", seed]  # one round of each kind
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 of 5 right" in done.stdout


@pytest.mark.slow
def test_two_containers_that_share_a_store():
    seed = str(random.SystemRandom().randrange(1 << 32))
    words = [sys.executable, BENCH / "containers.py", "--kills", "12", "--cuts", "6", "--models", "0", "--seed", seed]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode == NO_NAMESPACE:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"(\d+) of \1 rounds right", done.stdout)
