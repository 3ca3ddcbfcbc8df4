"""Imports are read by several threads at a time: those of doit, and of a worker of a cluster."""

from __future__ import annotations

import gc
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.engine import imports


class Cycle:
    """Garbage that runs Python when it is collected, where other threads get their turn."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        sum(range(50))


@pytest.fixture
def restless():
    """An interpreter that collects garbage and changes threads all the time."""
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(20)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*threshold)


def test_threads_read_imports_at_one_time(tmp_path, restless):
    for number in range(16):
        (tmp_path / f"m{number}.py").write_text(f"import os\nx = {'(' * 30}{number}{',)' * 30}\n" * 20)

    def read(number: int) -> bool:
        path = tmp_path / f"m{number}.py"
        garbage = [Cycle() for _ in range(200)]
        del garbage
        return path.stem in imports.reached([path.stem], lambda name: [path] if name == path.stem else [])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(16)))
