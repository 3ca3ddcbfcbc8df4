"""Keeps TVM from writing OpenCL that no driver compiles: places of vector stores have no variables of their own.

`relax` runs it on the functions of an OpenCL device, when they are lowered to the end. A division by a length that is
not known becomes an expression with variables inside (`let r = i % n in …`). TVM writes such a variable as a statement
before the one that it is in, and for the place of `vstore8` into the middle of it (quirk TVM-18).
"""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir.transform import Pass, PassContext


def inline_places() -> Pass:
    """Return the pass that does it to every function of an `IRModule`."""
    return tvm.transform.module_pass(_transform, opt_level=0, name="InlinePlaces")


def _transform(module: tvm.IRModule, _context: PassContext) -> tvm.IRModule:
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
