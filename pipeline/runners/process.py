"""A model in a shared library that this very process loads: the host's machine.

It runs in a worker's child, so a model that crashes takes nothing else along. The model is found the way an app finds
it: its constructors register it when the library is loaded, and its prefix is all that is known of it.
"""

from __future__ import annotations

import ctypes
import resource
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tvm
import tvm_ffi

from pipeline.compilers import tensor_cache
from pipeline.errors import StepError
from pipeline.process import peak_bytes

from .machine import Held, Parameter, Value

CPU = (1, 0, 2)
"""What `vm_initialization` takes: DLPack's number of the CPU, the device's index, and TVM's pooled allocator."""


class Process:
    """A machine in this process: the models of a shared library with the prefix.

    Raises:
        StepError: the library cannot be loaded, or the model is not in it.
    """

    emulated: str | None = None
    transport = 0.0

    def __init__(self, library: Path, prefix: str) -> None:
        try:
            ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
        except OSError as error:
            hint = "link it against the runtime of this toolchain"
            raise StepError(f"it cannot be loaded: {error}", where=library, hint=hint) from error
        try:
            self._functions: tvm_ffi.Module = tvm_ffi.system_lib(prefix)["vm_load_executable"]()
        except (AttributeError, RuntimeError, ValueError) as error:
            hint = f"link the whole archive: nothing refers to {prefix}__tvm_ffi__library_bin but its constructor"
            raise StepError(f"no model is registered under {prefix!r}: {error}", where=library, hint=hint) from error
        self._functions["vm_initialization"](*CPU)
        self._parameters: dict[str, object] = {}
        self._held: list[object] = []

    def use_parameters(self, folder: Path) -> None:
        """See `Machine`."""
        self._parameters = {}
        # Copied: generated code relies on an alignment that a tensor in the middle of a shard does not have.
        cache = tensor_cache.read(folder)
        self._parameters = {name: tvm.runtime.tensor(array) for name, array in cache.items()}

    def call(self, function: str, arguments: Sequence[Value]) -> tuple[Value, float]:
        """See `Machine`."""
        given = [self._given(argument) for argument in arguments]
        run = self._functions[function]
        start = time.perf_counter()
        result = run(*given)
        seconds = time.perf_counter() - start
        return self._taken(result), seconds

    def runtime(self, function: str, arguments: Sequence[Value]) -> Value:
        """See `Machine`."""
        found = tvm_ffi.get_global_func(function, allow_missing=True)
        if found is None:
            hint = "link the part of the runtime that registers it"
            raise StepError(f"the runtime has no function {function!r}", hint=hint)
        return self._taken(found(*map(self._given, arguments)))

    def close(self) -> int:
        """See `Machine`."""
        return peak_bytes(resource.getrusage(resource.RUSAGE_SELF))

    def _given(self, value: Value) -> object:
        if isinstance(value, np.ndarray):
            return tvm.runtime.tensor(value)
        if isinstance(value, Held):
            return self._held[value.number]
        if isinstance(value, Parameter):
            return self._parameters[value.name]
        if isinstance(value, tuple) and all(isinstance(extent, int) for extent in value):
            return tvm_ffi.Shape(value)
        return [self._given(item) for item in value] if isinstance(value, list | tuple) else value

    def _taken(self, value: object) -> Value:
        if isinstance(value, tvm_ffi.Tensor):
            return np.array(value.numpy() if hasattr(value, "numpy") else np.from_dlpack(value))
        if isinstance(value, tvm_ffi.Array):
            return [self._taken(item) for item in value]
        if isinstance(value, tuple):
            return tuple(value)
        if not isinstance(value, str | int | float | None):
            self._held.append(value)
            return Held(len(self._held) - 1)
        return value
