"""Loads a model from what it is written in, as a Relax module and named parameters: a factory, ONNX, `torch.export`.

`relax` and `parameters` call it inside a worker. The optional front ends are imported when a model needs them; what is
missing is said with what to install. It does not know what becomes of the module.
"""

from __future__ import annotations

import importlib
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType

import tvm
from tvm import relax

from pipeline.errors import StepError, ToolMissing
from pipeline.matrix.source import SourceRef

from . import python_source
from .confinement import Confinement
from .indices import from_the_beginning
from .reasons import explained
from .recipe import Array, BuildSpec, Parameters
from .reference import read_onnx, without_tensors


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model as its source gives it.

    Attributes:
        module: its functions take the parameters as arguments.
        parameters: see `recipe`.
        inputs: what its file calls the inputs of its only function; none where the module says it.
        outputs: likewise.
    """

    module: tvm.IRModule
    parameters: Parameters
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def names(self) -> list[str] | None:
        """Names of the parameters in order, or None where only asking for all of them would tell."""
        return None if callable(self.parameters) else list(self.parameters)


def load(source: SourceRef, scope: Confinement, spec: BuildSpec, *, compiling: bool) -> Loaded:
    """Load a model of kind `factory`, `onnx` or `exported`.

    `scope` is around this, and around all that is done with the parameters; its source is the model's file. When
    `compiling`, `spec.weights` is narrowed to the `config` files, which error messages then explain.

    Raises:
        StepError: the source is wrong.
        ToolMissing: reading it needs a package that is not installed.
    """
    kind, path = source.kind, scope.source
    if kind == "factory":
        loaded = _factory(scope, str(source.function), spec, compiling=compiling)
    else:
        loaded = _FRONT_ENDS[kind](path, spec.options)
    return replace(loaded, module=from_the_beginning(loaded.module, path))


def _factory(scope: Confinement, name: str, spec: BuildSpec, *, compiling: bool) -> Loaded:
    path = scope.source
    function = python_source.load_function(scope, name)
    result = python_source.run(function, path, spec, weights=spec.weights if compiling else None)
    hint = "a factory ends with `return module, parameters`"
    place = _definition(function, path)
    if not isinstance(result, tuple) or len(result) != 2:  # noqa: PLR2004 - module and parameters
        raise StepError(f"{name} returned {_describe(result)}, not a module and its parameters", where=place, hint=hint)
    module, parameters = result
    if not isinstance(module, tvm.IRModule):
        raise StepError(f"{name} returned {_describe(module)} where a tvm.IRModule belongs", where=place, hint=hint)
    if isinstance(parameters, Mapping):
        return Loaded(module, parameters)
    if callable(parameters):
        return Loaded(module, partial(python_source.run, parameters, path))
    wrong = f"{name} returned {_describe(parameters)} where the parameters belong"
    raise StepError(wrong, where=place, hint="return a mapping of names to arrays, or a function that returns one")


_REFUSED = "export it with operators this TVM knows, or write the model as a factory; the traceback is in the log"


def _onnx(path: Path, options: Mapping[str, object]) -> Loaded:
    """Read an ONNX file; the option `shapes` gives inputs a shape (`{input: [int | symbol, ...]}`).

    A symbol is an extent that is known only when the model is called; the same name is the same extent everywhere.
    """
    _optional("onnx", path)
    hint = "export the model again; tensors that it keeps in other files must lie beside it"
    with explained("this is not a readable ONNX model", hint, path):
        graph = read_onnx(path, options)
    held = {tensor.name for tensor in graph.graph.initializer}
    for given in [one for one in graph.graph.input if one.name in held]:  # its default; TVM would have it twice
        graph.graph.input.remove(given)
    front_end = importlib.import_module("tvm.relax.frontend.onnx")
    with explained("TVM's ONNX front end refused it", _REFUSED, path, _operator), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it renames inputs: they get their names back below
        module = front_end.from_onnx(graph, keep_params_in_input=True)
    inputs = tuple(one.name for one in graph.graph.input)
    return replace(_detached(module), inputs=inputs, outputs=tuple(one.name for one in graph.graph.output))


def _operator(error: Exception) -> str:
    """Which node of the graph the front end was converting, with its inputs: its own words seldom say."""
    frames = [frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__)]
    nodes = [held["node"] for held in frames if "inputs" in held and hasattr(held.get("node"), "op_type")]
    return f" at {nodes[-1].op_type} for `{', '.join(nodes[-1].output)}`" if nodes else ""


def _exported(path: Path, _options: Mapping[str, object]) -> Loaded:
    """Read what `torch.export.save` wrote."""
    torch = _optional("torch", path)
    hint = "write it with torch.export.save, and with a torch that is no newer than the toolchain's"
    with explained("this is not a torch.export program", hint, path):
        program = torch.export.load(path)
    if odd := without_tensors(program.graph_signature.input_specs):
        hint = "export it with a tensor for that, such as torch.tensor(3), or with the value in the module itself"
        raise StepError(f"its input {odd[0]} is no tensor, and TVM takes no other", where=path, hint=hint)
    front_end = importlib.import_module("tvm.relax.frontend.torch")
    with explained("TVM's torch.export front end refused it", _REFUSED, path):
        module = front_end.from_exported_program(program, keep_params_as_input=True, unwrap_unit_return_tuple=True)
    return _detached(module, list(program.graph_signature.inputs_to_parameters.values()))


_FRONT_ENDS: dict[str, Callable[[Path, Mapping[str, object]], Loaded]] = {"onnx": _onnx, "exported": _exported}


def _detached(module: tvm.IRModule, names: list[str] | None = None) -> Loaded:
    """Part a front end's module from the parameters it holds; `names` are better ones than its arguments have."""
    module, held = relax.frontend.detach_params(module)
    arrays: dict[str, Array] = {}
    for function, tensors in held.items():
        arguments = module[function].params[-len(tensors) :] if tensors else []
        own = names if names is not None and len(names) == len(tensors) else [argument.name for argument in arguments]
        arrays.update(zip(own, tensors, strict=True))
    return Loaded(module, arrays)


def _optional(package: str, path: Path) -> ModuleType:
    """Import a package that is an extra of ours, and named like it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        hint = f"in the toolchain's environment: pip install 'slipway-tvm[{package}]'"
        raise ToolMissing(f"reading this model needs {package}: {error}", where=path, hint=hint) from error


def _definition(function: object, path: Path) -> str:
    code = getattr(function, "__code__", None)
    return f"{path}:{code.co_firstlineno}" if code is not None else str(path)


def _describe(value: object) -> str:
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"
