"""Makes the code of dynamic shapes the same in every run, where TVM leaves its order to chance.

`schedules` and `mlc_driver` add it as the last pass of every pipeline. TVM's VMShapeLower writes a `shape_func` that
computes the derived extents of a function (`H[3] = 256 * H[0]`), and walks a map hashed by addresses to do so: the
order of the stores, and with it the bytes of `lib0.o`, differ from run to run. The stores are independent of one
another, so here they are sorted by their place.
"""

from __future__ import annotations

import tvm
from tvm import tirx
from tvm.ir.transform import Pass, PassContext
from tvm_ffi import structural_walk

_LOAD = getattr(tvm.ir, "TensorLoad", None) or tirx.BufferLoad
"""What TVM 0.27 made of a `BufferLoad`."""


def sort_shape_stores() -> Pass:
    """Return the pass that sorts the stores of every shape function of an `IRModule`."""
    return tvm.transform.module_pass(_transform, opt_level=0, name="SortShapeStores")


def _transform(module: tvm.IRModule, _context: PassContext) -> tvm.IRModule:
    changed = {}
    for variable, function in module.functions.items():
        if isinstance(function, tirx.PrimFunc) and function.attrs and "tirx.is_host_func" in function.attrs:
            ordered = _sorted(function.body)
            if ordered is not None:
                changed[variable] = function.with_body(ordered)
    for variable, function in changed.items():
        module[variable] = function
    return module


def _sorted(body: tirx.Stmt) -> tirx.SeqStmt | None:
    """Return the statements in order; None where they are anything but independent stores to constant places."""
    if not isinstance(body, tirx.SeqStmt) or not all(isinstance(part, tirx.BufferStore) for part in body.seq):
        return None
    stores = {_place(part): part for part in body.seq}
    loads: list[tvm.ir.Expr] = []
    for part in body.seq:
        structural_walk(part.value, (_LOAD, loads.append))
    read = {_place(load) for load in loads}
    if None in stores or None in read or len(stores) != len(body.seq) or read & stores.keys():
        return None
    return tirx.SeqStmt([stores[place] for place in sorted(place for place in stores if place is not None)])


def _place(access: tirx.BufferStore | tvm.ir.Expr) -> tuple[int, ...] | None:
    """Where is stored to or loaded from, or None where that is computed.

    A shape function has one buffer. Were there two, one would be taken for the other, and the order left alone.
    """
    indices = [getattr(index, "value", None) for index in access.indices]
    return None if None in indices else tuple(int(index) for index in indices if index is not None)
