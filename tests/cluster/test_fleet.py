"""Forecasts of a run on several machines: what is known by hand, and what holds for every graph."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cluster.fleet import Work, enough, fleets, schedule


def cells(number: int, seconds: float = 10.0, family: str = "") -> list[Work]:
    return [Work(f"compile:{n}", seconds, family=family) for n in range(number)]


def elapsed(works, machines, slots=1, sending=0.0) -> float:
    return schedule(works, machines, slots, sending).elapsed


def test_work_is_shared_by_machines_and_slots():
    assert elapsed(cells(8), 1) == 80
    assert elapsed(cells(8), 4) == 20
    assert elapsed(cells(8), 2, slots=2) == 20
    assert elapsed(cells(8), 100) == 10


def test_cells_of_one_lowering_stay_on_one_machine():
    assert elapsed(cells(4, family="apple"), 4) == 40
    assert elapsed(cells(4, family="apple"), 4, slots=2) == 20
    assert schedule(cells(4, family="apple"), 4, 1, 0.0).limit == "family"


def test_the_longest_way_goes_first():
    """In the order of the plan the long chain would begin last, and take 30 s on two machines."""
    works = [*cells(4, 5.0), Work("long", 10.0), Work("end", 10.0, ("long",))]
    assert elapsed(works, 2) == 20


def test_what_does_not_travel_takes_no_machine():
    works = [*cells(2), Work("archive", 7.0, ("compile:0", "compile:1"), travels=False)]
    assert elapsed(works, 2) == 17
    here = [Work(f"verify:{n}", 10.0, travels=False) for n in range(4)]
    assert elapsed([*here, *cells(4)], 4) == 40
    assert schedule([*here, *cells(4)], 4, 1, 0.0).limit == "near side"


def test_orders_are_sent_in_turn():
    assert elapsed(cells(100, 0.1), 100, sending=1.0) == pytest.approx(100.1)
    assert schedule(cells(100, 0.1), 100, 1, 1.0).limit == "sending"


def test_costs_are_of_all_machines_for_all_of_the_time():
    fleet = schedule(cells(3), 2, 1, 0.0)
    assert (fleet.elapsed, fleet.machine_seconds, fleet.busy) == (20, 40, 0.75)


def test_machines_that_bring_nothing():
    found = list(fleets(cells(4), 16, 1))
    assert [fleet.machines for fleet in found] == [1, 2, 4, 8, 16]
    assert enough(found).machines == 4
    assert [fleet.machines for fleet in fleets(cells(4), 6, 1)] == [1, 2, 4, 6]
    assert next(fleets([], 1, 1)).elapsed == 0


@st.composite
def graphs(draw: st.DrawFn) -> list[Work]:
    works: list[Work] = []
    for number in range(draw(st.integers(1, 25))):
        after = draw(st.lists(st.sampled_from([w.name for w in works]), max_size=3)) if works else []
        family = draw(st.sampled_from(["", "", "a", "b"]))
        travels = bool(family) or draw(st.booleans())
        works.append(Work(f"w{number}", draw(st.integers(0, 20)), tuple(after), family, travels))
    return works


@given(graphs(), st.integers(1, 5), st.integers(1, 3))
def test_no_run_is_shorter_than_its_limits_nor_longer_than_one_after_the_other(works, machines, slots):
    fleet = schedule(works, machines, slots, 0.0)
    assert fleet.elapsed >= max(fleet.limits.values()) - 1e-6
    assert fleet.elapsed <= sum(work.seconds for work in works) + 1e-6
