"""The check of a model whose file says what it computes: ONNX and `torch.export`, where the user names no check.

`session` asks for it. The numbers are those of the format's own implementation (onnxruntime, else `onnx.reference`;
torch), which shares no code with TVM. Inputs are the example that an exported program carries and noise in its place;
for ONNX they are noise, in the first sizes and ranges that the implementation gives finite numbers for.
"""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.documents.codec import decode
from pipeline.errors import StepError, ToolMissing
from pipeline.files import open_regular
from pipeline.files.names import is_safe_relative
from pipeline.nearest import did_you_mean

from .recipe import Array, Check, Comparison, Session, Shapes

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto, ValueInfoProto
    from torch import Tensor
    from torch.export.graph_signature import InputSpec, OutputSpec

Arrays = list[npt.NDArray[Any]]

SIZES = ((2, 3, 5, 7, 11), (1,), (8,), (32,), (224,))
"""Extents for the symbols of a model, in turn: first a different one for each, then the same for all."""

RANGES = ((-1.0, 1.0), (0.1, 1.0))
"""Between which floats are drawn. Whole numbers are 0 and 1, which are right for masks, kinds and most indices."""

FUNCTION = "main"
"""What TVM's front ends call the function of a model."""

_LOUDER, _MANY = 32, 4
"""How many times smaller the values of a channel are that are looked at alone, and how many it has at least. What is
lost by cancellation is that of the larger ones, so the tolerance does not go lower than by the same factor."""

_HINT = "name a `check` for the model in targets.yaml"


@dataclass(frozen=True)
class Example:
    """What goes into a model, and what must come out: names of the outputs and numbers."""

    said_by: str
    inputs: Arrays
    outputs: Sequence[tuple[str, npt.NDArray[Any]]]


def check_of(kind: str, path: Path, options: Mapping[str, object]) -> Check:
    """The check of a model that `compilers.sources` has read from a file of kind `onnx` or `exported`.

    Of the variant's options `shapes` are those of an ONNX model.

    Raises:
        ToolMissing: the file's own implementation is not there, or cannot be asked.
    """
    examples = list(_EXAMPLES[kind](path, options))
    if not examples:
        raise ToolMissing("what comes out of this model is not finite for any input tried", where=path, hint=_HINT)

    def check(session: Session) -> Iterator[Comparison]:
        for example in examples:
            got = session.call(FUNCTION, *example.inputs)
            found = got if isinstance(got, list) else [got]
            if len(found) != len(example.outputs):
                what = f"{FUNCTION} gave {len(found)} results, and {example.said_by} {len(example.outputs)}"
                raise StepError(what, where=path, hint=_HINT)
            for (name, want), one in zip(example.outputs, found, strict=True):
                told, allowed = f"{name} ({example.said_by})", tolerance(want, example.inputs)
                yield Comparison(told, one, want, allowed)
                small = _small(want)
                closer = max(tolerance(want[small], example.inputs), allowed / _LOUDER)
                if np.shape(one) == want.shape and np.abs(want[small]).max(initial=0) > 2 * closer:
                    yield Comparison(f"the small values of {told}", np.asarray(one)[small], want[small], closer)

    return check


def tolerance(want: npt.NDArray[Any], inputs: Sequence[npt.NDArray[Any]]) -> float:
    """Half of the digits that the coarsest float among inputs and output has, of the largest number; 0 for others."""
    if not _is_float(want):
        return 0.0
    coarsest = max(float(_epsilon(array.dtype)) for array in (want, *inputs) if _is_float(array))
    return math.sqrt(coarsest) * float(np.abs(want.astype(np.float64)).max(initial=0)) or 1e-6


def _small(want: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Which elements are in a channel (along any axis) where all are far below the largest of the whole.

    Beside coordinates up to 640, a probability could be anything within the tolerance of the whole.
    """
    small = np.zeros(want.shape, np.bool_)
    if not _is_float(want) or not want.size:
        return small
    sizes = np.abs(want.astype(np.float64))
    for axis in range(want.ndim):
        others = tuple(one for one in range(want.ndim) if one != axis)
        if want.size >= _MANY * want.shape[axis]:
            small |= sizes.max(axis=others, keepdims=True) * _LOUDER < sizes.max()
    return small


def _epsilon(dtype: npt.DTypeLike) -> float:
    return float(importlib.import_module("ml_dtypes").finfo(dtype).eps)


def _is_float(array: npt.NDArray[Any]) -> bool:
    return array.dtype.kind == "f" or "float" in array.dtype.name


def _onnx(path: Path, options: Mapping[str, object]) -> Iterator[Example]:
    onnx = importlib.import_module("onnx")
    model = read_onnx(path, options)
    graph = model.graph
    held = {tensor.name for tensor in graph.initializer}
    wanted = [_described(onnx, one) for one in graph.input if one.name not in held]
    names = [output.name for output in graph.output]
    odd = [output.name for output in graph.output if not output.type.HasField("tensor_type")]
    if odd:
        raise ToolMissing(f"the output {odd[0]} is no tensor, and cannot be compared", where=path, hint=_HINT)
    said_by, run = _onnx_runner(path, model)
    problem: Exception | str = ""
    for sizes, between in itertools.product(SIZES, RANGES):
        feeds = _feeds(wanted, sizes, between)
        try:
            outputs = [np.asarray(output) for output in run(names, feeds)]
        except Exception as error:  # noqa: BLE001 - a size or a number it does not take: the next ones may do
            problem = error
            continue
        if all(np.isfinite(output.astype(np.float64)).all() and output.size for output in outputs):
            yield Example(said_by, list(feeds.values()), list(zip(names, outputs, strict=True)))
            return
        problem = "what comes out is not finite"
    what = f"{said_by} does not say what this model computes for any input tried: {problem}"
    raise ToolMissing(what, where=path, hint=_HINT)


def read_onnx(path: Path, options: Mapping[str, object]) -> ModelProto:
    """An ONNX model with all its tensors, its inputs having the shapes that the option `shapes` gives them.

    The package refuses tensors in a file that is a link or has a second name, as every file in a cache is.

    Raises:
        StepError: it keeps a tensor outside of its directory, or that file is too short; `shapes` does not fit.
        Exception: whatever the package raises of a file that is no model.
    """
    onnx = importlib.import_module("onnx")
    model: ModelProto = onnx.load(path, format="protobuf", load_external_data=False)
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.raw_data = _data_of(tensor, path)
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
    for value in model.graph.input:
        for extent in value.type.tensor_type.shape.dim:
            if extent.dim_value < 0:  # how some exporters write what is known only at the call
                extent.ClearField("dim_value")
    _give_shapes(model, decode(Shapes, options.get("shapes", {}), "the option `shapes`"), path)
    return model


def _give_shapes(model: ModelProto, shapes: Shapes, path: Path) -> None:
    """Written into the model, so that a name in `shapes` and the same name in the file are one extent."""
    inputs = {one.name: one.type.tensor_type for one in model.graph.input}
    for name, shape in shapes.items():
        if name not in inputs:
            hint = did_you_mean(name, inputs) or f"its inputs are {', '.join(inputs)}"
            raise StepError(f"it has no input `{name}`, which `shapes` names", where=path, hint=hint)
        kind = inputs[name]
        if kind.HasField("shape") and len(kind.shape.dim) != len(shape):
            wrong = f"its input `{name}` has {len(kind.shape.dim)} dimensions, and `shapes` says {len(shape)}"
            raise StepError(wrong, where=path, hint="give each dimension a number or a name")
        kind.shape.SetInParent()
        del kind.shape.dim[:]
        for extent in shape:
            kind.shape.dim.add(**{"dim_param" if isinstance(extent, str) else "dim_value": extent})


def _tensors(message: ModelProto) -> Iterator[TensorProto]:
    """All tensors in a model, or in any message in one."""
    for _, value in message.ListFields():
        for inner in [value] if hasattr(value, "ListFields") else value if isinstance(value, Sequence) else ():
            if not hasattr(inner, "ListFields"):
                break  # text, bytes or numbers
            if inner.DESCRIPTOR.name == "TensorProto":
                yield inner
            else:
                yield from _tensors(inner)


def _data_of(tensor: TensorProto, model: Path) -> bytes:
    said = {entry.key: entry.value for entry in tensor.external_data}
    location, length = said.get("location", ""), int(said.get("length", -1))
    if not is_safe_relative(location):
        hint = "export the model again, with its tensors in files beside it"
        raise StepError(
            f"it keeps the tensor {tensor.name!r} in {location!r}, which is not beside it", where=model, hint=hint
        )
    with open_regular(model.parent / location) as file:
        file.seek(int(said.get("offset", 0)))
        data = file.read(length)
    if len(data) < length:
        what = f"the file ends {length - len(data)} bytes before the tensor {tensor.name!r} does"
        raise StepError(what, where=model.parent / location, hint="fetch or export it again")
    return data


def _onnx_runner(
    path: Path, model: ModelProto
) -> tuple[str, Callable[[list[str], Mapping[str, npt.NDArray[Any]]], Sequence[Array]]]:
    """The implementation that is asked, and the function that asks it."""
    try:
        runtime = importlib.import_module("onnxruntime")
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001 - it is an extra, and knows fewer models than the reference
        evaluator = importlib.import_module("onnx.reference").ReferenceEvaluator(model)
        return "onnx.reference", evaluator.run
    return "onnxruntime", session.run


def _described(onnx: ModuleType, value: ValueInfoProto) -> tuple[str, np.dtype[Any], list[int | str]]:
    """Name, dtype and shape of an input; an extent without a name gets one of its own."""
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        raise ToolMissing(f"the input {value.name} is no tensor, and cannot be made up", hint=_HINT)
    stated = [one.dim_value or one.dim_param or f"{value.name} {number}" for number, one in enumerate(kind.shape.dim)]
    return value.name, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type), stated


def _feeds(
    wanted: Sequence[tuple[str, np.dtype[Any], list[int | str]]], sizes: Sequence[int], between: tuple[float, float]
) -> dict[str, npt.NDArray[Any]]:
    random = np.random.Generator(np.random.PCG64(1))
    symbols = sorted({extent for _, _, shape in wanted for extent in shape if isinstance(extent, str)})
    extents = dict(zip(symbols, itertools.cycle(sizes)))
    feeds = {}
    for name, dtype, shape in wanted:
        fixed = [extents[extent] if isinstance(extent, str) else extent for extent in shape]
        numbers = random.integers(0, 2, fixed) if np.dtype(dtype).kind in "iub" else random.uniform(*between, fixed)
        feeds[name] = numbers.astype(dtype)
    return feeds


def _exported(path: Path, _options: Mapping[str, object]) -> Iterator[Example]:
    torch = importlib.import_module("torch")
    tree = importlib.import_module("torch.utils._pytree")
    program = torch.export.load(path)
    if without_tensors(program.graph_signature.output_specs):
        raise ToolMissing("an output of this program is no tensor, and cannot be compared", where=path, hint=_HINT)
    if program.example_inputs is None:
        raise ToolMissing("this program carries no example of its inputs", where=path, hint=_HINT)
    module = program.module()
    leaves, structure = tree.tree_flatten(program.example_inputs)
    generator = torch.Generator().manual_seed(1)

    def noise(leaf: Tensor) -> Tensor:
        floats = isinstance(leaf, torch.Tensor) and leaf.is_floating_point()
        return (torch.rand(leaf.shape, generator=generator) * 2 - 1).to(leaf.dtype) if floats else leaf

    for given in (leaves, [noise(leaf) for leaf in leaves]):
        arguments, keywords = tree.tree_unflatten(given, structure)
        inputs = [_array(torch, leaf).copy() for leaf in given if isinstance(leaf, torch.Tensor)]  # it may write there
        try:
            with torch.no_grad():
                outputs = [_array(torch, one) for one in tree.tree_leaves(module(*arguments, **keywords))]
        except Exception as error:
            if given is leaves:
                raise ToolMissing(f"torch cannot run this program: {error}", where=path, hint=_HINT) from error
            continue  # noise is no input of it
        if all(np.isfinite(output.astype(np.float64)).all() for output in outputs):
            named = [(f"output_{number}", output) for number, output in enumerate(outputs)]
            yield Example(f"torch {torch.__version__}", inputs, named)


def without_tensors(specs: Iterable[InputSpec | OutputSpec]) -> list[str]:
    """Names of the inputs or outputs of a program that are something else than tensors: numbers, text, None."""
    given = [one for one in specs if one.kind.name.startswith("USER_")]
    return [getattr(one.arg, "name", "") for one in given if type(one.arg).__name__ != "TensorArgument"]


def _array(torch: ModuleType, tensor: Tensor) -> npt.NDArray[Any]:
    """A tensor as a numpy array, also where numpy needs `ml_dtypes` to know the dtype."""
    plain = tensor.detach().cpu()
    if plain.dtype is torch.bfloat16:
        return np.asarray(plain.view(torch.int16).numpy().view(importlib.import_module("ml_dtypes").bfloat16))
    return np.asarray(plain.numpy())


_EXAMPLES: Mapping[str, Callable[[Path, Mapping[str, object]], Iterator[Example]]] = {
    "onnx": _onnx,
    "exported": _exported,
}
