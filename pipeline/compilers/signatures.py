"""Describes the functions of a Relax module, for `functions.json` and the bindings made from it.

`relax` calls it before lowering, where shapes still have their symbols.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import tvm
from tvm import relax

from pipeline.documents.functions import OBJECT, SHAPE, TUPLE, Function, Value
from pipeline.errors import StepError
from pipeline.nearest import nearest


def describe(module: tvm.IRModule, parameters: Sequence[str] | None, where: Path) -> tuple[Function, ...]:
    """List the public Relax functions of an `IRModule` that is not lowered yet, sorted by name.

    The arguments that carry the model's parameters get the names in `parameters`, which are in order, whether packed in
    one tuple or plain. `where` is the model's source, for messages.

    Raises:
        StepError: a function has other names for its parameters, or has them in another order.
    """
    functions = []
    for variable, function in module.functions.items():
        if not isinstance(function, relax.Function) or not (function.attrs and "global_symbol" in function.attrs):
            continue
        arguments, by_place = tuple(_value(argument.ty, argument.name) for argument in function.params), None
        if "num_input" in function.attrs:  # how Relax itself tells inputs from parameters
            inputs = int(function.attrs["num_input"])
            taken, by_place = _as_parameters(arguments[inputs:], _own_names(function, inputs), parameters, where)
            arguments = (*arguments[:inputs], *taken)
        result = function.ret_ty
        returns = result.fields if isinstance(result, relax.TupleType) else [result]
        results = tuple(_value(item, f"output_{index}") for index, item in enumerate(returns))
        functions.append(Function(variable.name_hint, arguments, results, by_place))
    return tuple(sorted(functions, key=lambda function: function.name))


def renamed(functions: Sequence[Function], inputs: Sequence[str], outputs: Sequence[str]) -> tuple[Function, ...]:
    """Functions with the names that the model's file has for what goes in and comes out, where that has any."""
    return tuple(
        replace(
            function,
            arguments=tuple(_called([one for one in function.arguments or () if not one.parameter], inputs))
            + tuple(one for one in function.arguments or () if one.parameter),
            returns=tuple(_called(function.returns or (), outputs)),
        )
        for function in functions
    )


def _called(values: Sequence[Value], names: Sequence[str]) -> Sequence[Value]:
    if len(values) != len(names):
        return values
    return [replace(value, name=name) for value, name in zip(values, names, strict=True)]


def _as_parameters(
    carriers: Sequence[Value], own: Sequence[str], names: Sequence[str] | None, where: Path
) -> tuple[tuple[Value, ...], tuple[str, ...] | None]:
    """Mark what carries parameters, and name it after `names` where those are known; see `_bound` for `own`.

    Returns:
        The carriers, and what the module calls the parameters where these have got names by their place.
    """
    packed = len(carriers) == 1 and carriers[0].items is not None
    tensors = (carriers[0].items or ()) if packed else tuple(carriers)
    by_place = None
    if names is not None and tensors:
        own = own or [tensor.name for tensor in tensors]
        bound, by_name = _bound(own, names, where)
        by_place = None if by_name else tuple(own)
        tensors = tuple(replace(tensor, name=name) for tensor, name in zip(tensors, bound, strict=True))
    carriers = [replace(carriers[0], items=tensors)] if packed else tensors
    return tuple(replace(one, parameter=True) for one in carriers), by_place


def _own_names(function: relax.Function, inputs: int) -> list[str]:
    """What the parameters in a tuple are called in the function, whose builder takes them out of it by name."""
    packed = function.params[inputs:]
    if len(packed) != 1 or not isinstance(packed[0].ty, relax.TupleType):
        return []
    names = [f"{packed[0].name}_{index}" for index in range(len(packed[0].ty.fields))]
    for block in getattr(function.body, "blocks", ()):
        for binding in block.bindings:
            taken = getattr(binding, "value", None)
            if isinstance(taken, relax.TupleGetItem) and taken.tuple_value.same_as(packed[0]):
                names[int(taken.index)] = str(binding.var.name)
    return names


def _bound(own: Sequence[str], given: Sequence[str], where: Path) -> tuple[list[str], bool]:
    """The names given to a function's parameters, and whether by name, which they are where it has any of them.

    `own` is what the function calls them; characters that its language does not have are underscores. `given` is what
    the source calls them, in its order.
    """
    # TVM puts a number behind the names of a module's second function.
    if len(own) == len(given) and all(
        re.fullmatch(f"{_plain(g)}\\d*", _plain(o)) for o, g in zip(own, given, strict=True)
    ):
        return list(given), True
    known = {_plain(name): name for name in given}
    found = [known.get(_plain(name)) for name in own]
    hint = "give each parameter under its name in the module, in the order in which the function takes them"
    if not any(found) or len(known) < len(given):
        if len(own) == len(given):
            return list(given), False
        what = f"a function of the module takes {len(own)} parameters, and the source gives {len(given)}"
        raise StepError(what, where=where, hint=hint)
    missing = [name for name, one in zip(own, found, strict=True) if one is None]
    if missing:
        near = nearest(missing[0], map(_plain, given))
        close = f" ({known[near]} is near)" if near else ""
        what = f"the module takes a parameter {missing[0]!r} that the source does not give{close}"
        raise StepError(what, where=where, hint=hint)
    bound = [name for name in found if name is not None]
    order = [name for name in given if name in set(bound)]
    if bound != order:
        one, other = next((one, other) for one, other in zip(bound, order, strict=False) if one != other)
        what = f"the source gives its parameters in another order than the module takes them: {other} in place of {one}"
        raise StepError(what, where=where, hint=hint)
    return bound, True


def _plain(name: str) -> str:
    """A name as TVM's builder and front ends spell it."""
    return re.sub(r"\W", "_", name).removeprefix("p_")


def _value(kind: tvm.ir.Type, name: str) -> Value:
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


def _extent(extent: tvm.ir.Expr) -> int | str:
    value = getattr(extent, "value", None)
    return int(value) if value is not None else re.sub(r"T\.int64\((-?\d+)\)", r"\1", str(extent))
