"""Searches for patterns that a module cannot contain are left out, and no others."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.tvm

tvm = pytest.importorskip("tvm")

from tvm import relax, te  # noqa: E402
from tvm.relax.dpl.pattern import GlobalVarPattern, TuplePattern, is_op, wildcard  # noqa: E402

from pipeline.compilers import idle_patterns  # noqa: E402


def module(*, branch: bool = False):
    """`scaled(x, w)` feeds the second operand of `product`; `product`, through another name, the first of `last`."""
    builder = relax.BlockBuilder()
    x, w = (relax.Var(name, relax.TensorType((4, 4), "float32")) for name in "xw")

    def added(a, b):
        return te.compute((4, 4), lambda i, j: a[i, j] + b[i, j])

    with builder.function("main", [x, w]):
        with builder.dataflow():
            scaled = builder.emit_te(added, w, w, primfunc_name_hint="scaled")
            product = builder.emit_te(added, x, scaled, primfunc_name_hint="product")
            out = builder.emit_output(builder.emit_te(lambda a: added(a, a), product, primfunc_name_hint="last"))
        if branch:
            out = builder.emit(relax.If(relax.const(True, "bool"), out, x))
        builder.emit_func_output(out)
    return builder.get()


def call(*operands):
    return is_op("relax.call_tir")(GlobalVarPattern(), TuplePattern(list(operands)), add_constraint=False)


SCALED_PRODUCT = call(wildcard(), call(wildcard(), wildcard()))
IDLE = {
    "another place": call(call(wildcard(), wildcard()), wildcard()),
    "another number inside": call(wildcard(), call(wildcard())),
    "another number outside": call(wildcard(), call(wildcard(), wildcard()), wildcard()),
}


def fused(pattern, made):
    """The module after a search, and whether TVM searched."""
    searched = []
    usual = relax.transform.FuseOpsByPattern

    def spied(patterns, **options):
        fusing = usual(patterns, **options)
        return lambda module: (searched.append(1), fusing(module))[1]

    relax.transform.FuseOpsByPattern = spied
    try:
        with idle_patterns.left_out():
            out = relax.transform.FuseOpsByPattern([("found", pattern)])(made)
    finally:
        relax.transform.FuseOpsByPattern = usual
    return out, bool(searched)


def names(made) -> set[str]:
    return {variable.name_hint for variable in made.functions}


def test_what_is_there_is_found():
    out, searched = fused(SCALED_PRODUCT, module())
    assert searched
    assert any(name.startswith("fused_") for name in names(out)), names(out)


@pytest.mark.parametrize("pattern", IDLE.values(), ids=IDLE)
def test_what_cannot_be_there_is_not_searched_for_and_would_not_have_been_found(pattern):
    made = module()
    out, searched = fused(pattern, made)
    assert not searched
    assert names(out) == names(relax.transform.FuseOpsByPattern([("found", pattern)])(made)) == names(made)


def test_patterns_and_modules_of_other_kinds_are_searched():
    assert fused(is_op("relax.add")(wildcard(), wildcard()), module())[1]
    assert fused(IDLE["another place"], module(branch=True))[1]
    assert fused(SCALED_PRODUCT | IDLE["another place"], module())[1]


def test_afterwards_tvm_is_as_before():
    usual = relax.transform.FuseOpsByPattern
    with pytest.raises(ValueError, match="inside"), idle_patterns.left_out():
        raise ValueError("inside")
    assert relax.transform.FuseOpsByPattern is usual
