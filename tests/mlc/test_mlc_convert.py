"""Quantizing in one pass: the same numbers, and no array of 32 bits each in between."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.steps.convert import inlined

pytestmark = pytest.mark.tvm


def test_what_can_be_computed_where_it_is_read_is_not_kept():
    tvm = pytest.importorskip("tvm")
    from tvm import relax, te

    def packed(weight):
        """Two numbers of four bits in a word, as mlc_llm writes it down."""
        numbers = te.compute(weight.shape, lambda i, j: (weight[i, j] * 15).astype("uint32"), name="numbers")
        return te.compute((4, 8), lambda i, j: numbers[i, 2 * j] | numbers[i, 2 * j + 1] << 4, name="packed")

    def built(change):
        builder = relax.BlockBuilder()
        weight = relax.Var("weight", relax.TensorType((4, 16), "float32"))
        with builder.function("main", [weight]):
            with builder.dataflow():
                made = builder.emit_output(builder.emit_te(packed, weight))
            builder.emit_func_output(made)
        module = change(builder.finalize())
        machine = relax.VirtualMachine(relax.build(module, "llvm"), tvm.cpu())
        return module["packed"].script(), machine["main"](tvm.runtime.tensor(given)).numpy()

    given = np.random.default_rng(1).random((4, 16), np.float32)
    usual, expected = built(lambda module: module)
    changed, result = built(inlined)
    np.testing.assert_array_equal(result, expected)
    assert "alloc_buffer" in usual
    assert "alloc_buffer" not in changed
