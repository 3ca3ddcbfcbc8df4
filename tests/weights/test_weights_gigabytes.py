"""The benchmark of large weights in small: what it holds for gigabytes, it holds for two hundred megabytes, too."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench" / "weights.py"


@pytest.mark.tvm
@pytest.mark.slow
@pytest.mark.parametrize(("source", "read"), [("hub", 0), ("xet", 0), ("url", 0), ("path", 2)])
def test_weights_stream_and_are_written_once(source: str, read: int, tmp_path: Path) -> None:
    """Hashed as they arrive, and read twice where they are copied."""
    command = [sys.executable, str(BENCH), "--gib", "0.2", "--source", source, "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {
        name: [float(cell) for cell in cells.split("|")]
        for name, cells in re.findall(r"^\| `doit (\w+)\S*` +\|(.+)\|$", done.stdout, re.MULTILINE)
    }
    for step, reads, writes, copies in (("weights", read, 1, 1), ("params", 0, 1, 2), ("product", 0, 0, 2)):
        *_, got_read, got_written, on_disk = rows[step]
        assert (got_read, got_written, on_disk) == pytest.approx((reads, writes, copies), abs=0.3)
