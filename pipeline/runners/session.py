"""A loaded model as a recipe's check sees it: calls by name, held against the signature, and timed.

The same for every machine. `checks` makes one for the check, and one more for its negative control.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.compilers import tensor_cache
from pipeline.documents.functions import OBJECT, SHAPE, TUPLE, Function
from pipeline.documents.functions import Value as Described
from pipeline.errors import StepError

from .machine import Held, Machine, Parameter, Value

Change = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]


@dataclass(frozen=True)
class ModelSession:
    """A model on a machine; see `compilers.recipe.Session` for what the methods promise a recipe.

    Attributes:
        options: the variant's body in targets.yaml.
        functions: signatures by name, as `functions.json` has them.
        parameters: names of the parameters that the machine has loaded.
        machine: that has the model's functions.
        change: what becomes of arrays on their way to the model.
        most: calls that may be made; None for any number.
        seconds: function -> how long each of its calls took.
        last: function -> arguments of its last call, where it can be made again: no object that keeps a state is in it.
    """

    model: str
    variant: str
    options: Mapping[str, object]
    weights: Path | None
    functions: Mapping[str, Function]
    parameters: frozenset[str]
    machine: Machine
    change: Change | None = None
    most: int | None = None
    seconds: dict[str, list[float]] = field(default_factory=dict)
    last: dict[str, list[Value]] = field(default_factory=dict)

    def call(self, function: str, *arguments: Value) -> Value:
        """Call a model's function, with its parameters appended where it takes more than was given."""
        if function not in self.functions:
            known = ", ".join(sorted(self.functions))
            raise StepError(f"{self.model} has no function {function!r}", hint=f"call one of: {known}")
        expected = self.functions[function].arguments or ()
        given = [argument for argument in expected if not argument.parameter]
        if len(arguments) != len(given):
            hint = f"it takes {', '.join(_signature(argument) for argument in given) or 'no arguments'}"
            raise StepError(f"{self.model}'s {function} was called with {len(arguments)} arguments", hint=hint)
        plain = [_plain(argument) for argument in arguments]
        for value, argument in zip(plain, given, strict=True):
            if wrong := _differs(value, argument):
                what = f"{self.model}'s {function} was called with {argument.name} {wrong}"
                raise StepError(what, hint=f"it takes {_signature(argument)}")
        appended = [self._parameter(argument) for argument in expected if argument.parameter]
        sent = [self.change(value) if isinstance(value, np.ndarray) and self.change else value for value in plain]
        result = self._timed(function, [*sent, *appended])
        if not _holds_state([sent, result]):
            self.last[function] = [*sent, *appended]
        self._check_result(function, result)
        return result

    def repeat(self, calls: int, seconds: float) -> None:
        """Make the last call of each function again, until it was called so often or this took so long in all."""
        for function, arguments in self.last.items():
            until = time.monotonic() + seconds / len(self.last)
            while len(self.seconds[function]) < calls and time.monotonic() < until:
                self._timed(function, arguments)

    @property
    def calls(self) -> int:
        """How many were made."""
        return sum(map(len, self.seconds.values()))

    def _timed(self, function: str, arguments: Sequence[Value]) -> Value:
        if self.calls == self.most:
            raise StepError(f"the check calls {self.model} more than {self.most} times")
        result, seconds = self.machine.call(function, arguments)
        self.seconds.setdefault(function, []).append(seconds)
        return result

    def runtime(self, function: str, *arguments: Value) -> Value:
        """Call a function of the runtime."""
        return self.machine.runtime(function, [_plain(argument) for argument in arguments])

    def _check_result(self, function: str, result: Value) -> None:
        """A result that is not what the signature says is the machine's fault, and never the recipe's."""
        wanted = self.functions[function].returns
        if wanted is None or (len(wanted) == 1 and wanted[0].dtype == OBJECT):
            return
        if len(wanted) == 1 and wanted[0].items is not None:
            wanted = wanted[0].items
        results = result if isinstance(result, list) else [] if result is None else [result]
        if len(results) != len(wanted):
            what = f"{self.model}'s {function} gave {len(results)} results, and returns {len(wanted)}"
            raise StepError(what, hint=_OTHER_LIBRARY)
        for value, one in zip(results, wanted, strict=True):
            plain = one.dtype not in _NO_TENSORS and not isinstance(value, np.ndarray)
            if wrong := "which is no tensor" if plain else _differs(value, one):
                what = f"{self.model}'s {function} gave {one.name} {wrong}"
                raise StepError(what, hint=f"it returns {_signature(one)}; {_OTHER_LIBRARY}")

    def _parameter(self, argument: Described) -> Value:
        if argument.items is not None:
            return [self._parameter(item) for item in argument.items]
        if argument.name not in self.parameters:
            what = f"{self.model} takes a parameter {argument.name!r} that its source did not give"
            hint = "let the factory return a mapping with one entry per parameter of its module, in their order"
            raise StepError(what, hint=hint)
        return Parameter(argument.name)


_NO_TENSORS = frozenset({SHAPE, TUPLE, OBJECT, "int", "float"})
_OTHER_LIBRARY = "the library and functions.json are of different compiles, or the machine that runs it is broken"


def changed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An array that a right model answers differently: another number of about the same size in every place.

    Whole numbers become 0, which is a valid index into anything (or 1, where they are 0 already).
    """
    if array.dtype.kind in "biu":
        return np.zeros_like(array) if array.any() else np.ones_like(array)
    return np.asarray(array.astype("float32") * 1.5 + 0.25).astype(array.dtype)


def _times(factor: float) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
    def change(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return array if _is_whole(array) else np.asarray(array.astype("float32") * factor).astype(array.dtype)

    return change


def _mirrored(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Large for small: what is an index stays one, in a range that is not larger."""
    if array.dtype.kind not in "iu" or not array.size:
        return ~array if array.dtype.kind == "b" else array
    with np.errstate(over="ignore"):  # of what wraps around on the way, nothing is left
        return np.asarray(array.max() - (array - array.min()))


def _rolled(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Each number in the next one's place; others where all are the same."""
    other = np.roll(array, 1)
    return changed(array) if other.tobytes() == array.tobytes() else other


WEIGHT_CHANGES = (_times(1.5), _times(-1.0), _mirrored, _rolled)
"""How all weights are changed, in turn: what one leaves as it is (an argmax, a cosine, a sum), another does not."""


INPUT_CHANGES = (changed, lambda array: _rolled(array) if _is_whole(array) else np.zeros_like(array))
"""How all inputs are changed, in turn: which numbers are not 0 is another thing with the second alone."""


def write_changed(parameters: Path, folder: Path, change: Change) -> bool:
    """Write a copy of a tensor cache in which the weights are changed.

    Returns:
        False, having written nothing, where that changes none.
    """
    cache = tensor_cache.read(parameters)
    if all(array.tobytes() == change(array).tobytes() for array in cache.values()):
        return False
    folder.mkdir()
    tensor_cache.write(((name, change(array)) for name, array in cache.items()), folder)
    return True


def _is_whole(array: npt.NDArray[Any]) -> bool:
    return array.dtype.kind in "biu"


def _holds_state(value: Value) -> bool:
    return isinstance(value, Held) or (isinstance(value, list | tuple) and any(map(_holds_state, value)))


def _plain(value: Value) -> Value:
    """An argument as machines know it: numpy's own numbers are numbers."""
    return value.item() if isinstance(value, np.generic) else value


def _differs(value: Value, argument: Described) -> str | None:
    """How a value differs from its signature, or None: dtype, rank and the extents that are numbers."""
    if not isinstance(value, np.ndarray) or argument.dtype in _NO_TENSORS:
        return None
    shape = value.shape if argument.shape is None else argument.shape
    fits = len(shape) == value.ndim and all(
        not isinstance(want, int) or want == have for want, have in zip(shape, value.shape, strict=True)
    )
    return None if fits and value.dtype.name == argument.dtype else f"of {value.dtype.name}{list(value.shape)}"


def _signature(argument: Described) -> str:
    return f"{argument.name} {argument.dtype}{list(argument.shape or ())}"
