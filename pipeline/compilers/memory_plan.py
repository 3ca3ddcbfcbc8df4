"""How many bytes each function of a lowered model allocates, as TVM's memory planning left it; `relax` asks."""

from __future__ import annotations

import math
from collections.abc import Mapping

import tvm
from tvm import relax

_ALLOCATION = "relax.vm.alloc_storage"


def planned(module: tvm.IRModule) -> Mapping[str, int | None]:
    """Function -> bytes of all its storages, which live at once; None where a size is known only at the call."""
    every = {str(name.name_hint): one for name, one in module.functions.items() if isinstance(one, relax.Function)}
    return {name: _allocated(one) for name, one in every.items()}


def _allocated(function: relax.Function) -> int | None:
    sizes: list[int | None] = []

    def visit(node: object) -> None:
        if isinstance(node, relax.Call) and getattr(node.op, "name", None) == _ALLOCATION:
            shape = node.args[0]
            extents = list(shape.values) if isinstance(shape, relax.ShapeExpr) else [None]
            whole = [int(one) for one in extents if isinstance(one, tvm.tirx.IntImm)]
            sizes.append(math.prod(whole) if len(whole) == len(extents) else None)

    relax.analysis.post_order_visit(function, visit)
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None
