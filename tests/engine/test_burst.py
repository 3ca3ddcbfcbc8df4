"""What quick actions did is written down together and soon; what cannot be written is told."""

from __future__ import annotations

import time
from itertools import chain

import pytest

from pipeline.engine.burst import QUICK, WINDOW, Burst
from pipeline.errors import StoreError


def until(is_so):
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_only_quick_ones_may_wait():
    burst = Burst(lambda: None)
    assert burst.takes(QUICK / 2)
    assert not burst.takes(QUICK * 2)
    burst.close()


def test_many_are_written_down_at_once_and_nobody_has_to_come_again():
    waiting, written = [], []

    def write_down():
        if waiting:
            written.append(waiting.copy())
            waiting.clear()

    burst = Burst(write_down)
    for number in range(50):
        waiting.append(number)
        burst.soon()
    until(lambda: not waiting)
    assert list(chain(*written)) == list(range(50))
    assert len(written) < 50
    waiting.append("a straggler")
    burst.soon()
    until(lambda: not waiting)
    burst.close()


def test_the_end_waits_for_no_window():
    waiting = ["one"]
    burst = Burst(waiting.clear)
    burst.close()
    assert not waiting


def test_whoever_comes_next_is_told_what_could_not_be_written_once():
    def write_down():
        raise StoreError("no space left on device")

    burst = Burst(write_down)
    burst.soon()
    time.sleep(WINDOW)

    def is_told():
        try:
            burst.takes(0)
        except StoreError:
            return True
        return False

    until(is_told)
    assert burst.takes(0)
    with pytest.raises(StoreError, match="no space"):
        burst.close()
