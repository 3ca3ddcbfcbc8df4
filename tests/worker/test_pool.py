"""Workers of several toolchains in the memory of one machine."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import fake_toolchain
import pytest
from test_worker import HERE, gone

from pipeline.worker.pool import ToolchainWorkers

pytestmark = pytest.mark.tvm


@dataclass(frozen=True)
class Environment:
    """Stands for that of any toolchain: it is this Python."""

    path: tuple[Path, ...] = (HERE,)
    variables: dict[str, str] = field(default_factory=dict)

    def ensure(self, **_: object) -> str:
        return sys.executable


@pytest.mark.parametrize("room", [0, 1 << 40])
def test_a_toolchain_that_nobody_uses_ends_where_another_needs_its_memory(tmp_path, room):
    with closing(ToolchainWorkers(tmp_path, lambda _: Environment(), print, lambda: room)) as workers:
        one, other = (workers(name).call(partial(fake_toolchain.pids), log=tmp_path / "log")["parent"] for name in "ab")
        assert gone(one) == (room == 0)
        assert not gone(other)
