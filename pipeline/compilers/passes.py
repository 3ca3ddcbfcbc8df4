"""Passes of ours beside TVM's: each puts right what TVM leaves to chance or gets wrong.

`schedules` and `mlc_driver` add `sort_shape_stores` as the last pass of every pipeline. TVM's VMShapeLower writes a
`shape_func` that computes the derived extents of a function (`H[3] = 256 * H[0]`), and walks a map hashed by addresses
to do so: the order of the stores, and with it the bytes of `lib0.o`, differ from run to run. The stores are independent
of one another, so here they are sorted by their place.

`relax` runs `inline_places` on the functions of an OpenCL device, when they are lowered to the end: places of vector
stores then have no variables of their own. A division by a length that is not known becomes an expression with
variables inside (`let r = i % n in …`). TVM writes such a variable as a statement before the one that it is in, and for
the place of `vstore8` into the middle of it, which no driver compiles (quirk TVM-18).
"""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir.transform import Pass, PassContext

_LOAD = getattr(tvm.ir, "TensorLoad", None) or tirx.BufferLoad
"""What TVM 0.27 made of a `BufferLoad`."""


def sort_shape_stores() -> Pass:
    """Return the pass that sorts the stores of every shape function of an `IRModule`."""
    return tvm.transform.module_pass(_with_sorted_stores, opt_level=0, name="SortShapeStores")


def _with_sorted_stores(module: tvm.IRModule, _context: PassContext) -> tvm.IRModule:
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
        tvm_ffi.structural_walk(part.value, (_LOAD, loads.append))
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


def inline_places() -> Pass:
    """Return the pass that does it to every function of an `IRModule`."""
    return tvm.transform.module_pass(_with_inlined_places, opt_level=0, name="InlinePlaces")


def _with_inlined_places(module: tvm.IRModule, _context: PassContext) -> tvm.IRModule:
    functions = {
        variable: function.with_body(tvm_ffi.structural_map(function.body, (tirx.BufferStore, _plain)))
        if isinstance(function, tirx.PrimFunc)
        else function
        for variable, function in module.functions.items()
    }
    return tvm.IRModule(functions, attrs=module.attrs)


def _plain(store: tirx.BufferStore) -> tirx.BufferStore:
    if not any(isinstance(index, tirx.Ramp) for index in store.indices):
        return store
    indices = [tvm_ffi.structural_map(index, (tirx.Let, _inlined)) for index in store.indices]
    return tirx.BufferStore(store.buffer, store.value, indices)


def _inlined(let: tirx.Let) -> tvm.ir.Expr:
    """The body with the value wherever the variable is: it computes, and changes nothing."""
    return tvm_ffi.structural_map(let.body, (tirx.Var, lambda one: let.value if one.same_as(let.var) else one))
