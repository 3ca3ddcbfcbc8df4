"""Puts constant indices of a model right that count from the end of an axis, which TVM reads as outside of the tensor.

`sources` does it to every model, whatever it is written in.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from pipeline.errors import StepError


def from_the_beginning(module: tvm.IRModule, path: Path) -> tvm.IRModule:
    """The module with constant indices counted from the beginning of an axis; the very same one where all are.

    PyTorch, ONNX and numpy read `x[-1]` as the last element. TVM's gathering operators read the memory before the
    tensor (TVM-22), on every backend, and nothing fails. What cannot be put right is refused.

    Raises:
        StepError: an index is outside its axis, or counts from the end of an axis whose extent only a call knows.
    """
    indices = _Indices(module)
    for variable, function in module.functions.items():
        if isinstance(function, relax.Function):
            indices.builder_.update_func(variable, indices.visit_expr(function))
    if indices.wrong:
        hint = "count from the beginning, and within the axis: x[n - 1] for x[-1]"
        raise StepError(indices.wrong, where=path, hint=hint)
    return indices.builder_.get() if indices.changed else module


@mutator
class _Indices(PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.changed = False
        self.wrong = ""  # raised when the visit is over: TVM would make another error of it on its way

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Every call of an operator that gathers, with its constants put right."""
        name = call.op.name if isinstance(call.op, tvm.ir.Op) else ""
        if name in {"relax.take", "relax.gather_elements"}:
            data, index = call.args
            axis = call.attrs.axis
            extent = _extents(data)[0 if axis is None else int(axis)]
            flat = name == "relax.take" and axis is None
            return self._with(call, [data, self._index(name, index, None if flat else extent)])
        if name == "relax.index_tensor":
            data, given = call.args
            if isinstance(given, relax.Tuple):
                pairs = zip(given.fields, _extents(data), strict=False)
                return self._with(call, [data, relax.Tuple([self._index(name, *pair) for pair in pairs])])
        if name == "relax.gather_nd":
            self._index(name, call.args[1], None)
        return super().visit_call_(call)

    def _with(self, call: relax.Call, arguments: Sequence[relax.Expr]) -> relax.Expr:
        return super().visit_call_(relax.Call(call.op, arguments, call.attrs, call.ty_args, call.span))

    def _index(self, operator: str, index: relax.Expr, extent: int | None) -> relax.Expr:
        tensor = getattr(index, "value", None)
        if not isinstance(tensor, tvm.runtime.Tensor):
            return index
        numbers = tensor.numpy()
        if numbers.dtype.kind != "i" or numbers.size == 0:
            return index
        least, most = int(numbers.min()), int(numbers.max())
        if least >= 0 and (extent is None or most < extent):
            return index
        if extent is None or not -extent <= least <= most < extent:
            self.wrong = (
                f"with the index {least if least < 0 else most}, TVM's {operator} reads what is beside the tensor"
            )
            return index
        self.changed = True
        return relax.const(np.where(numbers < 0, numbers + extent, numbers).astype(numbers.dtype))


def _extents(data: relax.Expr) -> list[int | None]:
    """Of each axis; None where only a call knows it."""
    shape = data.ty.shape
    if shape is None:
        return [None] * max(int(data.ty.ndim), 1)
    return [int(one) if isinstance(one, tvm.tirx.IntImm) else None for one in shape.values]
