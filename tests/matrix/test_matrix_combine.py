"""include and exclude mean what they mean in GitHub Actions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.matrix.selection import combine


def values(axes, include=(), exclude=()):
    return [dict(one.values) for one in combine(axes, include, exclude)]


def test_the_first_axis_varies_slowest():
    assert values({"model": ["a", "b"], "backend": ["x", "y"]}) == [
        {"model": "a", "backend": "x"},
        {"model": "a", "backend": "y"},
        {"model": "b", "backend": "x"},
        {"model": "b", "backend": "y"},
    ]


def test_the_example_in_githubs_documentation():
    axes = {"fruit": ["apple", "pear"], "animal": ["cat", "dog"]}
    include = [
        {"color": "green"},
        {"color": "pink", "animal": "cat"},
        {"fruit": "apple", "shape": "circle"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]
    assert values(axes, include) == [
        {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
        {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
        {"fruit": "pear", "animal": "cat", "color": "pink"},
        {"fruit": "pear", "animal": "dog", "color": "green"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]


def test_exclude_matches_in_part_and_comes_before_include():
    axes = {"model": ["a", "b"], "backend": ["x", "y"]}
    found = combine(axes, [{"model": "a", "backend": "x"}], [{"model": "a"}])
    assert [(dict(one.values), one.include) for one in found] == [
        ({"model": "b", "backend": "x"}, None),
        ({"model": "b", "backend": "y"}, None),
        ({"model": "a", "backend": "x"}, 0),
    ]


def test_without_axes_every_include_is_a_combination():
    assert values({}, [{"a": "1"}, {"a": "1"}]) == [{"a": "1"}, {"a": "1"}]


entries = st.lists(st.dictionaries(st.sampled_from("abz"), st.sampled_from("123"), min_size=1), max_size=4)


@given(
    axes=st.dictionaries(st.sampled_from("ab"), st.lists(st.sampled_from("123"), min_size=1, unique=True)),
    include=entries,
    exclude=entries,
)
def test_axes_are_never_overwritten_and_nothing_excluded_returns_by_itself(axes, include, exclude):
    found = combine(axes, include, exclude)
    plain = combine(axes, [], exclude)
    of_axes = [one for one in found if one.include is None]
    assert [{axis: one.values[axis] for axis in axes} for one in of_axes] == [dict(one.values) for one in plain]
    assert not any(part.items() <= one.values.items() for part in exclude for one in plain)
    for index, addition in enumerate(include):
        fixed = {axis: value for axis, value in addition.items() if axis in axes}
        fits = any(fixed.items() <= one.values.items() for one in plain)
        assert fits != any(one.include == index for one in found)
