"""Leaves out searches of a module for patterns that it cannot contain.

`mlc_lowering` uses it. mlc_llm looks for dequantized matrix products with each number of operands that it can think of,
21 times through the whole module, and a model has one or two of them; TVM's pass takes as long to find nothing as to
find something. Which calls take the result of which other calls is seen faster, and once for all the searches. A search
that finds nothing changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import tvm
from tvm import relax
from tvm.ir.transform import Pass, PassContext
from tvm.relax.dpl import CallPattern, DFPattern, ExprPattern, TuplePattern

Feed = tuple[int, int, int]
"""A call of a kernel that takes the result of another: how many operands it has, which one it is, how many that has."""

_CALL = tvm.ir.Op.get("relax.call_tir")


@contextmanager
def left_out() -> Iterator[None]:
    """Have TVM's `FuseOpsByPattern` do nothing where nothing can match, for as long as the context lasts."""
    usual = relax.transform.FuseOpsByPattern
    known: dict[relax.Function, set[Feed] | None] = {}  # of one module: many searches in a row go through the same

    def fuse(patterns: Sequence[object], *args: object, **options: object) -> Pass:
        fusing = usual(patterns, *args, **options)
        wanted = [_feeds_of_pattern(one[1]) if isinstance(one, tuple) else set() for one in patterns]

        def search(module: tvm.IRModule, _context: PassContext) -> tvm.IRModule:
            nonlocal known
            functions = [one for one in module.functions.values() if isinstance(one, relax.Function)]
            known = {one: known[one] if one in known else _feeds_of_function(one) for one in functions}
            there = {feed for feeds in known.values() for feed in feeds or ()}
            return fusing(module) if None in known.values() or any(feeds <= there for feeds in wanted) else module

        return tvm.transform.module_pass(search, opt_level=0, name="FuseOpsByPatternUnlessIdle")

    relax.transform.FuseOpsByPattern = fuse
    try:
        yield
    finally:
        relax.transform.FuseOpsByPattern = usual


def _feeds_of_pattern(pattern: DFPattern) -> set[Feed]:
    """What must be in a module that matches; nothing where that is not known of a pattern."""
    operands = _operands_of_pattern(pattern)
    found: set[Feed] = set()
    for place, operand in enumerate(operands or ()):
        inner = _operands_of_pattern(operand)
        if operands is not None and inner is not None:
            found |= {(len(operands), place, len(inner)), *_feeds_of_pattern(operand)}
    return found


def _operands_of_pattern(pattern: DFPattern) -> list[DFPattern] | None:
    """The operands, if it is the pattern of a kernel's call with a fixed number of them."""
    if not isinstance(pattern, CallPattern) or not isinstance(pattern.op, ExprPattern) or pattern.op.expr != _CALL:
        return None
    operands = pattern.args[1] if len(pattern.args) > 1 else None
    return list(operands.fields) if isinstance(operands, TuplePattern) else None


def _feeds_of_function(function: relax.Function) -> set[Feed] | None:
    """Those in a function; None where it is not what is known here."""
    called: dict[relax.Var, int] = {}
    found: set[Feed] = set()
    for block in getattr(function.body, "blocks", ()):
        for binding in block.bindings:
            value = binding.value
            if isinstance(value, relax.Var) and value in called:
                called[binding.var] = called[value]
            if isinstance(value, relax.If | relax.SeqExpr | relax.Function):
                return None
            if not isinstance(value, relax.Call) or value.op != _CALL:
                continue
            if not isinstance(value.args[1], relax.Tuple):
                return None
            operands = list(value.args[1].fields)
            called[binding.var] = len(operands)
            found |= {(len(operands), at, called[one]) for at, one in enumerate(operands) if one in called}
    return found
