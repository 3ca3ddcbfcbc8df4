"""Describes the functions of a Relax module as JSON, for `functions.json` and the link kits made from it.

`relax` calls it before lowering, where shapes still have their symbols. Scalars, shapes and opaque objects have no
shape of their own: `dtype` says "shape" or "object" for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import relax

from pipeline.action import Json


def describe(module: Any, parameters: Sequence[str] | None) -> list[Json]:
    """List the public Relax functions of an `IRModule`, sorted by name.

    Args:
        module: the module, not yet lowered.
        parameters: names of the model's parameters, in order; the arguments that carry them get these names.

    Returns:
        `[{"name", "arguments": [VALUE...], "returns": [VALUE...]}]`, VALUE being
        `{"name", "shape": [int | symbol...], "dtype", "parameter": true?, "items": [VALUE...]?}`. `parameter` marks
        the arguments that carry the model's parameters, whether packed in one tuple or plain; `items` are a tuple's.
    """
    functions = []
    for variable, function in module.functions.items():
        if not isinstance(function, relax.Function) or not (function.attrs and "global_symbol" in function.attrs):
            continue
        arguments = [_value(argument.ty, argument.name) for argument in function.params]
        if "num_input" in function.attrs:
            _mark_parameters(arguments, int(function.attrs["num_input"]), parameters)
        result = function.ret_ty
        returns = result.fields if isinstance(result, relax.TupleType) else [result]
        functions.append(
            {
                "name": variable.name_hint,
                "arguments": arguments,
                "returns": [_value(item, f"output_{index}") for index, item in enumerate(returns)],
            }
        )
    return sorted(functions, key=lambda function: str(function["name"]))


def _mark_parameters(arguments: list[dict[str, Json]], inputs: int, names: Sequence[str] | None) -> None:
    """Mark what follows the inputs (`num_input` is how Relax itself tells them apart) and name it after `names`."""
    carriers = arguments[inputs:]
    for argument in carriers:
        argument["parameter"] = True
    if len(carriers) == 1 and "items" in carriers[0]:
        carriers = carriers[0]["items"]
    if names is not None and len(names) == len(carriers):
        for carrier, name in zip(carriers, names, strict=True):
            carrier["name"] = name


def _value(kind: Any, name: str) -> dict[str, Json]:
    if isinstance(kind, relax.TensorType):
        shape = [_extent(extent) for extent in kind.shape.values] if kind.shape is not None else []
        return {"name": name, "shape": shape, "dtype": str(kind.dtype)}
    if isinstance(kind, relax.ShapeType):
        return {"name": name, "shape": [_extent(extent) for extent in kind.values or []], "dtype": "shape"}
    if isinstance(kind, relax.TupleType):
        items = [_value(item, f"{name}_{index}") for index, item in enumerate(kind.fields)]
        return {"name": name, "shape": [], "dtype": "tuple", "items": items}
    return {"name": name, "shape": [], "dtype": str(getattr(kind, "dtype", "object"))}


def _extent(extent: Any) -> int | str:
    value = getattr(extent, "value", None)
    return int(value) if value is not None else str(extent)
