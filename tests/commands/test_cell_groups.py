"""How groups of cells are merged into jobs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.commands.cells import LONGEST_NAME, Group, merged

LENGTHS = st.lists(st.floats(0.1, 100), min_size=1, max_size=12)


def groups(lengths: list[float]) -> list[Group]:
    return [Group(f"g{i}", (), seconds) for i, seconds in enumerate(lengths)]


@given(LENGTHS, st.integers(1, 12))
def test_no_group_is_lost_and_no_job_is_much_longer_than_it_must_be(lengths, most):
    jobs = merged(groups(lengths), most)
    assert len(jobs) == min(len(lengths), most)
    names = sorted(name for job in jobs for name in job.name.split(", "))
    assert names == sorted(f"g{i}" for i in range(len(lengths)))
    assert max(job.seconds for job in jobs) <= sum(lengths) / most + max(lengths) + 1e-6
    assert merged(groups(lengths), most) == jobs


def test_the_longest_is_alone():
    assert [job.name for job in merged(groups([1, 1, 9, 1]), 2)] == ["g0, g1, g3", "g2"]


def test_names_of_many_merged_groups_stay_short():
    (job,) = merged([Group(f"model-{i:03}-with-a-long-name", (), 1.0) for i in range(40)], 1)
    assert len(job.name) <= LONGEST_NAME + len(" and 38 more")
    assert job.name.endswith("more")
