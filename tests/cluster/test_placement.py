"""Which machine gets an order."""

from __future__ import annotations

import threading
from contextlib import ExitStack

from pipeline.cluster.placement import Machine, Placement

GIB = 1 << 30
SMALL = Machine("small", 1, {"memory": 2 * GIB})
LARGE = Machine("large", 4, {"memory": 64 * GIB, "xcode": 1})
PLAIN = Machine("plain", 2, {})


def taken(placement: Placement, family: str = "", avoid=(), **wants: float) -> str | None:
    with placement.room(family, wants, avoid) as machine:
        return machine and machine.name


def test_what_is_wanted_decides():
    placement = Placement(lambda: [SMALL, LARGE])
    assert taken(placement, memory=3 * GIB) == "large"
    assert taken(placement, xcode=1) == "large"
    assert taken(placement, gpu=1) is None
    assert taken(placement, memory=100 * GIB) is None
    assert taken(placement, avoid={"small", "large"}) is None
    assert taken(Placement(lambda: [PLAIN]), memory=100 * GIB) == "plain", "it does not say how much it has"
    assert taken(Placement(list)) is None


def test_the_machine_with_most_room_is_taken():
    placement = Placement(lambda: [SMALL, LARGE])
    with ExitStack() as held:
        got = [held.enter_context(placement.room("", {}, ())).name for _ in range(7)]
    assert sorted(got) == ["large"] * 5 + ["small"] * 2, "one more each than it has slots"


def test_a_family_stays_together_and_waits_for_its_machine():
    placement = Placement(lambda: [SMALL, LARGE])
    with placement.room("a", {}, ()) as first, placement.room("a", {}, ()) as second:
        assert first == second
        home = first.name
    placement = Placement(lambda: [SMALL, PLAIN])
    with placement.room("b", {}, ()) as first:
        assert first is not None
        with ExitStack() as held:
            for _ in range(first.slots):
                held.enter_context(placement.room("b", {}, ()))
            got = []
            waiting = threading.Thread(target=lambda: got.append(taken(placement, "b")))
            waiting.start()
            waiting.join(0.05)
            assert not got, "the other machine is idle, but has not the lowering"
        waiting.join(5)
        assert got == [first.name]
    assert home


def test_a_family_moves_when_its_machine_is_gone():
    there = [SMALL, LARGE]
    placement = Placement(lambda: there)
    first = taken(placement, "a")
    there.remove(next(one for one in there if one.name == first))
    assert taken(placement, "a") == there[0].name
