"""Do the parameters of a bundle fit the functions that were compiled: names, order, shapes, dtypes?

`pipeline.steps.verify` asks it of every backend, since nothing else would notice where the model is not run here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.documents.functions import Function, Value
from pipeline.documents.parameters import Parameter, Parameters
from pipeline.nearest import listed

from .report import Check, counted, failed, not_proven, proven

_HINT = (
    "let the factory return a mapping with one entry per parameter of its module, under its name, in their order and "
    "with their shapes and dtypes"
)


BY_NAME = "give the parameters the names that the module has for them; or have the model run here, with a `check`"

_OTHER_WEIGHTS = (
    "give the model the weights that were converted for it: the same architecture, quantization and overrides as "
    "mlc-chat-config.json says"
)


def check_parameters(subject: str, functions: Sequence[Function], held: Parameters) -> Check | None:
    """Compare the parameters of a model with what its functions take; None where there are none on either side."""
    name = f"parameters of {subject}"
    takers = {function.name: taken for function in functions if (taken := [*_tensors(function.arguments or ())])}
    if not takers and not held.parameters:
        return None
    if not takers:
        saw = f"no function says that it takes any of the {counted(len(held.parameters), 'parameter')}"
        return not_proven(
            name, saw, "set the attribute num_input of the module's functions to how many inputs they have"
        )
    wrong = [f"{function}: {problem}" for function, taken in takers.items() for problem in _problems(taken, held)]
    if wrong:
        return failed(name, listed(wrong, 3), _HINT)
    taken_names = {one.name for taken in takers.values() for one in taken}
    spare = [one.name for one in held.parameters if one.name not in taken_names]
    saw = f"{counted(len(held.parameters), 'parameter')} as {listed(list(takers), 3)} take them"
    if spare:
        saw += f"; taken by none: {listed(spare)}"
    return proven(name, saw)


def check_library(subject: str, taken: Sequence[Value], held: Parameters) -> Check:
    """Compare the parameters that a library lists, and the runtime looks up by name, with those in the weights."""
    name, given = f"parameters of {subject}", {one.name: one for one in held.parameters}
    if not given:
        return not_proven(name, "the index of the weights names no tensor", _OTHER_WEIGHTS)
    lost = [one.name for one in taken if one.name not in given]
    wrong = [f"the library takes {listed(lost, 3)}, which the weights do not have"] if lost else []
    pairs = [(one, given[one.name]) for one in taken if one.name in given]
    wrong += [_differs(one, there) for one, there in pairs if not _fits(one, there, {})]
    if wrong:
        return failed(name, listed(wrong, 3), _OTHER_WEIGHTS)
    return proven(name, f"the weights have the {counted(len(taken), 'parameter')} that the library takes")


def equal_words(held: Parameters) -> str | None:
    """The parameters that have the same bytes, for the table."""
    groups = [" = ".join(group) if len(group) < 4 else f"{group[0]} and {len(group) - 1} more" for group in held.equal]  # noqa: PLR2004 - a line
    return f"equal parameters: {listed(groups, 2)}" if groups else None


def by_place(functions: Sequence[Function]) -> tuple[str, str | None] | None:
    """Of parameters that have got their names by their place: a note for the table, and what nobody would notice.

    That is said of two that could stand for one another; None of others, and where the module's names decide.
    """
    for function in functions:
        if function.by_place is not None:
            taken = [*_tensors(function.arguments or ())]
            note = "parameters by place: " + listed(
                [f"{given.name} is {own}" for given, own in zip(taken, function.by_place, strict=False)], 3
            )
            alike: dict[object, str] = {}
            for one in taken:
                other = alike.setdefault((one.dtype, one.shape), one.name)
                if other != one.name:
                    return note, f"{other} and {one.name} fit each other's place in {function.name}"
            return note, None
    return None


def _tensors(values: Sequence[Value], *, inside: bool = False) -> Iterator[Value]:
    """The tensors among arguments that carry parameters, one by one."""
    for value in values:
        if value.parameter or inside:
            yield from _tensors(value.items, inside=True) if value.items is not None else (value,)


def _problems(taken: Sequence[Value], held: Parameters) -> Iterator[str]:
    """What is wrong with what one function is given."""
    places = {one.name: place for place, one in enumerate(held.parameters)}
    missing = [one.name for one in taken if one.name not in places]
    if missing:
        yield f"it takes {listed(missing)}, which the source did not give"
    pairs = [(one, held.parameters[places[one.name]]) for one in taken if one.name in places]
    order = [places[one.name] for one in taken if one.name in places]
    if order != sorted(order):
        given = [held.parameters[place].name for place in sorted(order)]
        yield f"it takes {listed([one.name for one, _ in pairs])} in this order, and is given {listed(given)}"
    extents: dict[str, int] = {}
    for wanted, given_one in pairs:
        if not _fits(wanted, given_one, extents):
            yield _differs(wanted, given_one)


def _differs(wanted: Value, given: Parameter) -> str:
    shape = ", ".join(map(str, wanted.shape or ()))
    return f"it takes {wanted.name} as {wanted.dtype}[{shape}], and {given.name} is {given.dtype}{list(given.shape)}"


def _fits(wanted: Value, given: Parameter, extents: dict[str, int]) -> bool:
    """Whether dtype and shape are the same; a symbol stands for one extent."""
    if wanted.dtype != given.dtype:
        return False
    if wanted.shape is None:
        return True
    if len(wanted.shape) != len(given.shape):
        return False
    for symbol, extent in zip(wanted.shape, given.shape, strict=True):
        if extent != (extents.setdefault(symbol, extent) if isinstance(symbol, str) else symbol):
            return False
    return True
