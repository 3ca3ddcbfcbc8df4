"""Loads a linked library of models, runs a recipe's check on this machine's CPU, and measures how far off it is.

`pipeline.steps.verify` calls `run_checks` inside a worker. The model is found the way an app finds it: its constructors
register it when the library is loaded, and its prefix is all that is known of it. How the library was linked is not
known here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tvm
import tvm_ffi

from pipeline.action import Json
from pipeline.documents.functions import Function, Value
from pipeline.documents.verdict import Verdict
from pipeline.errors import StepError
from pipeline.matrix.cells import ModelRef

from . import judge, python_source, tensor_cache
from . import reference as references

CPU = (1, 0, 2)
"""What `vm_initialization` takes: DLPack's number of the CPU, the device's index, and TVM's pooled allocator."""


@dataclass(frozen=True)
class HostSession:
    """A model loaded into this process; see `recipe.Session` for what the methods promise a recipe.

    Attributes:
        model: the model's name.
        variant: the variant's name.
        options: the variant's body in targets.yaml.
        weights: directory with the model's weights.
        functions: signatures by name, as `functions.json` has them.
        parameters: the tensor cache's directory, where the model has parameters.
        machine: TVM's virtual machine, which has the model's functions.
    """

    model: str
    variant: str
    options: Mapping[str, Json]
    weights: Path | None
    functions: Mapping[str, Function]
    parameters: Path | None
    machine: Any
    _tensors: dict[str, Any] = field(default_factory=dict)

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a model's function, with its parameters appended where it takes more than was given."""
        if function not in self.functions:
            known = ", ".join(sorted(self.functions))
            raise StepError(f"{self.model} has no function {function!r}", hint=f"call one of: {known}")
        expected = self.functions[function].arguments or ()
        given = [argument for argument in expected if not argument.parameter]
        if len(arguments) != len(given):
            hint = f"it takes {', '.join(_signature(argument) for argument in given) or 'no arguments'}"
            raise StepError(f"{self.model}'s {function} was called with {len(arguments)} arguments", hint=hint)
        appended = [self._parameter(argument) for argument in expected if argument.parameter]
        return _from_tvm(self.machine[function](*map(_to_tvm, arguments), *appended))

    def runtime(self, function: str, *arguments: Any) -> Any:
        """Call a function of the runtime."""
        found = tvm_ffi.get_global_func(function, allow_missing=True)
        if found is None:
            hint = "link the part of the runtime that registers it"
            raise StepError(f"the runtime has no function {function!r}", hint=hint)
        return _from_tvm(found(*map(_to_tvm, arguments)))

    def _parameter(self, argument: Value) -> Any:
        if argument.items is not None:
            return [self._parameter(item) for item in argument.items]
        if not self._tensors and self.parameters is not None:
            # Copied: generated code relies on an alignment that a tensor in the middle of a shard does not have.
            cache = tensor_cache.read(self.parameters)
            self._tensors.update({name: tvm.runtime.tensor(array) for name, array in cache.items()})
        if argument.name not in self._tensors:
            what = f"{self.model} takes a parameter {argument.name!r} that its source did not give"
            hint = "let the factory return a mapping with one entry per parameter of its module, in their order"
            raise StepError(what, hint=hint)
        return self._tensors[argument.name]


def load(
    *,
    library: Path,
    model: ModelRef,
    functions: Sequence[Function],
    parameters: Path | None,
    weights: Path | None,
) -> HostSession:
    """Load the shared library and find the model in it by its prefix.

    Raises:
        StepError: the library cannot be loaded, or the model is not in it.
    """
    try:
        ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    except OSError as error:
        hint = "link it against the runtime of this toolchain"
        raise StepError(f"it cannot be loaded: {error}", where=library, hint=hint) from None
    prefix = model.prefix
    try:
        machine = tvm_ffi.system_lib(prefix)["vm_load_executable"]()
    except (AttributeError, RuntimeError, ValueError) as error:
        hint = f"link the whole archive: nothing refers to {prefix}__tvm_ffi__library_bin but its constructor"
        what = f"{model.subject} is not registered under {prefix!r}: {error}"
        raise StepError(what, where=library, hint=hint) from None
    machine["vm_initialization"](*CPU)
    signatures = {function.name: function for function in functions}
    return HostSession(model.model, model.variant, model.options, weights, signatures, parameters, machine)


def run_checks(
    *,
    library: Path,
    model: ModelRef,
    functions: Sequence[Function],
    parameters: Path | None,
    weights: Path | None,
    recipe: Path,
    check: str | None,
    reference: str | None = None,
) -> tuple[Verdict, ...]:
    """Run a recipe's check on a model of a linked shared library.

    Args:
        library: the shared library.
        model: which of the library.
        functions: what `functions.json` (or `archive.json`) says of the model.
        parameters: directory with the tensor cache, if the model has parameters.
        weights: directory with the model's weights, if it has any.
        recipe: the file with the check, or the model's own.
        check: the function's name; None where the model's file itself says what it computes.
        reference: for the latter, what kind of file it is; see `reference.check_of`.

    Returns:
        One verdict a comparison.

    Raises:
        StepError: the model is not there, the check is wrong, or it compared nothing.
        ToolMissing: nothing here can say what the model computes.
    """
    name = check or "the comparison with the model's own file"
    if check is None:
        function = references.check_of(str(reference), recipe, model.options)
    else:
        function = python_source.load_function(recipe, check)
    session = load(library=library, model=model, functions=functions, parameters=parameters, weights=weights)
    verdicts: tuple[Verdict, ...] = python_source.run(judge.judged, recipe, function, session, recipe, name=name)
    if not verdicts:
        raise StepError(f"{name} compared nothing", where=recipe, hint="yield at least one Comparison")
    return verdicts


def _to_tvm(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return tvm.runtime.tensor(value)
    if isinstance(value, tuple) and all(isinstance(extent, int) for extent in value):
        return tvm_ffi.Shape(value)
    return value


def _from_tvm(value: Any) -> Any:
    if isinstance(value, tvm_ffi.Tensor):
        return np.array(value.numpy() if hasattr(value, "numpy") else np.from_dlpack(value))
    if isinstance(value, tvm_ffi.Array):
        return [_from_tvm(item) for item in value]
    return value


def _signature(argument: Value) -> str:
    return f"{argument.name} {argument.dtype}{list(argument.shape or ())}"
