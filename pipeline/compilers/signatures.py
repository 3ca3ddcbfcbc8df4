"""Describes the functions of a Relax module, for `functions.json` and the bindings made from it.

`relax` calls it before lowering, where shapes still have their symbols.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tvm import relax

from pipeline.documents.functions import OBJECT, SHAPE, TUPLE, Function, Value


def describe(module: Any, parameters: Sequence[str] | None) -> tuple[Function, ...]:
    """List the public Relax functions of an `IRModule`, sorted by name.

    Args:
        module: the module, not yet lowered.
        parameters: names of the model's parameters, in order; the arguments that carry them get these names, whether
            packed in one tuple or plain.
    """
    functions = []
    for variable, function in module.functions.items():
        if not isinstance(function, relax.Function) or not (function.attrs and "global_symbol" in function.attrs):
            continue
        arguments = tuple(_value(argument.ty, argument.name) for argument in function.params)
        if "num_input" in function.attrs:  # how Relax itself tells inputs from parameters
            inputs = int(function.attrs["num_input"])
            arguments = (*arguments[:inputs], *_as_parameters(arguments[inputs:], parameters))
        result = function.ret_ty
        returns = result.fields if isinstance(result, relax.TupleType) else [result]
        results = tuple(_value(item, f"output_{index}") for index, item in enumerate(returns))
        functions.append(Function(variable.name_hint, arguments, results))
    return tuple(sorted(functions, key=lambda function: function.name))


def _as_parameters(carriers: Sequence[Value], names: Sequence[str] | None) -> tuple[Value, ...]:
    """Mark what carries parameters, and name it after `names` where those are known and as many."""
    packed = len(carriers) == 1 and carriers[0].items is not None
    tensors = (carriers[0].items or ()) if packed else tuple(carriers)
    if names is not None and len(names) == len(tensors):
        tensors = tuple(replace(tensor, name=name) for tensor, name in zip(tensors, names, strict=True))
    return tuple(replace(one, parameter=True) for one in ([replace(carriers[0], items=tensors)] if packed else tensors))


def _value(kind: Any, name: str) -> Value:
    if isinstance(kind, relax.TensorType):
        shape = tuple(_extent(extent) for extent in kind.shape.values) if kind.shape is not None else None
        return Value(name, str(kind.dtype), shape)
    if isinstance(kind, relax.ShapeType):
        return Value(name, SHAPE, tuple(_extent(extent) for extent in kind.values or []))
    if isinstance(kind, relax.TupleType):
        items = tuple(_value(item, f"{name}_{index}") for index, item in enumerate(kind.fields))
        return Value(name, TUPLE, items=items)
    number = str(getattr(kind, "dtype", ""))
    return Value(name, "int" if number.startswith(("int", "uint")) else "float" if "float" in number else OBJECT)


def _extent(extent: Any) -> int | str:
    value = getattr(extent, "value", None)
    return int(value) if value is not None else re.sub(r"T\.int64\((-?\d+)\)", r"\1", str(extent))
