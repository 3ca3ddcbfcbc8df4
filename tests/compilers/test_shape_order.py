"""The code of dynamic shapes does not depend on the addresses of a run."""

from __future__ import annotations

import itertools

import pytest

pytestmark = pytest.mark.tvm

SCRIPT = """
@I.ir_module
class Module:
    @T.prim_func(s_tir=True)
    def shape_func(H: T.Buffer((T.int64(16),), "int64")):
        T.func_attr({{"tirx.is_host_func": True}})
        {}
"""
DERIVED = (
    "H[T.int64(1)] = H[T.int64(0)] * T.int64(2)",
    "H[T.int64(2)] = H[T.int64(0)] + T.int64(7)",
    "H[T.int64(10)] = T.int64(3)",
)


def module(*statements):
    import tvm
    from tvm.script import ir as I  # noqa: N812 - TVM's own names
    from tvm.script import tirx as T  # noqa: N812

    source = SCRIPT.format("\n        ".join(statements))
    return tvm.script.from_source(source, {"I": I, "T": T, "tvm": tvm})


def in_order(given):
    from pipeline.compilers.passes import sort_shape_stores

    return sort_shape_stores()(given)


def test_independent_stores_are_sorted_by_place():
    import tvm

    expected = module(*DERIVED)
    for statements in itertools.permutations(DERIVED):
        tvm.ir.assert_structural_equal(in_order(module(*statements)), expected)


@pytest.mark.parametrize(
    "statements",
    [
        # The second reads what the first has stored.
        ("H[T.int64(2)] = H[T.int64(0)]", "H[T.int64(1)] = H[T.int64(2)]"),
        # The last store wins.
        ("H[T.int64(2)] = T.int64(5)", "H[T.int64(1)] = T.int64(4)", "H[T.int64(2)] = T.int64(3)"),
        # Nobody knows where this goes.
        ("H[H[T.int64(0)]] = T.int64(5)", "H[T.int64(1)] = T.int64(4)"),
        ("H[T.int64(2)] = H[H[T.int64(0)]]", "H[T.int64(1)] = T.int64(4)"),
    ],
)
def test_what_depends_on_its_order_keeps_it(statements):
    import tvm

    tvm.ir.assert_structural_equal(in_order(module(*statements)), module(*statements))
