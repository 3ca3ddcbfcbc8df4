"""What of a kit's models can be called, with names and types for each language: templates of bindings are made of it.

One signature is read here once; `linkkit` hands the result to the templates as `callable` and `places`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pipeline.documents.functions import OBJECT, SHAPE, TUPLE, Function, Value
from pipeline.platforms import COMPILER_MACROS, DLPACK_DEVICES, MSVC_MACROS

from .escaping import identifier
from .kit import Kit, KitModel


@dataclass(frozen=True, slots=True)
class Dtype:
    """What the elements of a tensor are called: in C++, Rust, TypeScript (the array), Swift and Java."""

    cpp: str
    rust: str
    typescript: str
    swift: str
    java: str


DTYPES: Mapping[str, Dtype] = {
    "float32": Dtype("float", "f32", "Float32Array", "Float", "float"),
    "float64": Dtype("double", "f64", "Float64Array", "Double", "double"),
    "float16": Dtype("float16", "F16", "Uint16Array", "Half", "short"),
    "bfloat16": Dtype("bfloat16", "Bf16", "Uint16Array", "BFloat16", "short"),
    "int8": Dtype("std::int8_t", "i8", "Int8Array", "Int8", "byte"),
    "int16": Dtype("std::int16_t", "i16", "Int16Array", "Int16", "short"),
    "int32": Dtype("std::int32_t", "i32", "Int32Array", "Int32", "int"),
    "int64": Dtype("std::int64_t", "i64", "BigInt64Array", "Int64", "long"),
    "uint8": Dtype("std::uint8_t", "u8", "Uint8Array", "UInt8", "byte"),
    "uint16": Dtype("std::uint16_t", "u16", "Uint16Array", "UInt16", "short"),
    "uint32": Dtype("std::uint32_t", "u32", "Uint32Array", "UInt32", "int"),
    "uint64": Dtype("std::uint64_t", "u64", "BigUint64Array", "UInt64", "long"),
    "bool": Dtype("bool8", "Bool", "Uint8Array", "Bool8", "byte"),
}

_LARGEST = 1 << 63
_NOT_TENSORS = (SHAPE, OBJECT, TUPLE, "int", "float")

_CPP = frozenset({
    "alignas", "alignof", "and", "asm", "auto", "bool", "break", "case", "catch", "char", "class", "concept",
    "const", "continue", "default", "delete", "do", "double", "else", "enum", "explicit", "export", "extern",
    "false", "float", "for", "friend", "goto", "if", "inline", "int", "linux", "long", "mutable", "namespace",
    "not", "operator", "or", "private", "protected", "public", "register", "return", "short", "signed", "sizeof",
    "static", "std", "struct", "switch", "template", "this", "throw", "true", "try", "typedef", "typename",
    "typeof", "union", "unix", "unsigned", "using", "virtual", "void", "volatile", "while", "xor",
})  # fmt: skip
"""Words of C++, and what compilers for it predefine."""

_RESERVED = _CPP | frozenset({
    "abstract", "as", "assert", "async", "await", "boolean", "bundle", "byte", "call", "close", "crate", "debugger",
    "defer", "device", "dyn", "extends", "extension", "fallthrough", "final", "finally", "fn", "func", "function",
    "guard", "impl", "implements", "import", "in", "init", "inout", "instanceof", "interface", "internal", "is",
    "let", "loop", "macro", "match", "mod", "model", "module", "move", "mut", "native", "new", "nil", "null",
    "open", "override", "package", "protocol", "pub", "ref", "repeat", "results", "rethrows", "self", "strictfp",
    "subscript", "super", "synchronized", "tensor", "throws", "trait", "transient", "type", "typealias", "unsafe",
    "use", "var", "where", "with", "yield",
})  # fmt: skip
"""The same of Rust, Swift, Java and JavaScript too, and what generated code calls by these names itself."""


@dataclass(frozen=True, slots=True)
class Typed:
    """An argument or a result of a function that has a binding.

    Attributes:
        name: as in the signature.
        snake: its name in C++ and Rust.
        camel: its name in Swift, Java and TypeScript.
        kind: `tensor`, `shape`, `object`, `int` or `float`.
        dtype: of a tensor.
        rank: of a tensor or shape.
        shape: for people and comparisons.
        types: of a tensor's elements.
    """

    name: str
    snake: str
    camel: str
    kind: str
    dtype: str
    rank: int
    shape: tuple[int | str, ...]
    types: Dtype | None

    @property
    def described(self) -> str:
        """`int32 [1, tokens]`."""
        extents = f" [{', '.join(map(str, self.shape))}]" if self.kind in {"tensor", "shape"} else ""
        return f"{self.dtype}{extents}"


@dataclass(frozen=True, slots=True)
class Callable:
    """A function of a model.

    Attributes:
        name: as the runtime knows it.
        snake: its name in C++ and Rust.
        camel: its name in Swift, Java and TypeScript.
        inputs: what the caller gives, as the compiler said.
        parameters: tensors of the bundle.
        packed: whether those are one argument.
        outputs: what it returns, as the compiler said.
        known: whether the compiler said what the arguments are.
        arguments: the inputs, typed; None where a binding can not have types for it.
        results: likewise.
        untyped: why there are no types.
    """

    name: str
    snake: str
    camel: str
    inputs: tuple[Value, ...]
    parameters: tuple[Value, ...]
    packed: bool
    outputs: tuple[Value, ...]
    known: bool
    arguments: tuple[Typed, ...]
    results: tuple[Typed, ...]
    untyped: str | None

    @property
    def constants(self) -> tuple[Typed, ...]:
        """The tensors whose shape is a constant of the model."""
        return tuple(
            one for one in self.arguments if one.kind == "tensor" and all(isinstance(n, int) for n in one.shape)
        )


@dataclass(frozen=True, slots=True)
class Bound:
    """A model with its functions.

    Attributes:
        subject: `model-variant`.
        prefix: of its symbols.
        snake: its name in C++, and of its module in Rust.
        pascal: its name as a type.
        tvm: version of what compiled it.
        tvm_ffi: likewise.
        functions: all of them.
        options: plain numbers, texts and truth values among the variant's options, by their names in C++.
    """

    subject: str
    prefix: str
    snake: str
    pascal: str
    tvm: str | None
    tvm_ffi: str | None
    functions: tuple[Callable, ...]
    options: Mapping[str, object]


def bound_models(kit: Kit) -> tuple[Bound, ...]:
    """The models of a kit. Where its archives disagree about a model's functions, none of them has types."""
    taken: set[str] = set()
    found = []
    for model in kit.models:
        others = (one for archive in kit.archives for one in archive.models if one.subject == model.subject)
        agreed = all(one.functions == model.functions for one in others)
        snake = _unique(_snake(model.subject), taken)
        members = {snake}
        functions = tuple(_functions(model, members, agreed=agreed))
        constants = ((name, value) for name, value in model.document.options.items() if _is_constant(value))
        options = {_unique(_snake(name), members): value for name, value in constants}
        about = model.document
        found.append(
            Bound(model.subject, model.prefix, snake, _pascal(snake), about.tvm, about.tvm_ffi, functions, options)
        )
    return tuple(found)


def _functions(model: KitModel, taken: set[str], *, agreed: bool) -> Iterable[Callable]:
    for function in model.functions:
        snake = _unique(_snake(function.name), taken)
        yield _function(function if agreed else replace(function, arguments=None, returns=None), snake)


def _function(function: Function, snake: str) -> Callable:
    carried = [one for one in function.arguments or () if one.parameter]
    packed = len(carried) == 1 and carried[0].items is not None
    parameters = tuple((carried[0].items or ()) if packed else carried)
    inputs = tuple(one for one in function.arguments or () if not one.parameter)
    known = function.arguments is not None and function.returns is not None
    untyped = None if known else "the compiler did not say what it takes"
    for one in (*inputs, *(function.returns or ())):
        untyped = untyped or _why_untyped(one)
    taken: set[str] = set()
    return Callable(
        name=function.name,
        snake=snake,
        camel=_camel(snake),
        inputs=inputs,
        parameters=parameters,
        packed=packed,
        outputs=function.returns or (),
        known=known,
        arguments=() if untyped else tuple(_typed(one, taken) for one in inputs),
        results=() if untyped else tuple(_typed(one, set()) for one in function.returns or ()),
        untyped=untyped,
    )


def _why_untyped(value: Value) -> str | None:
    if value.dtype in _NOT_TENSORS:
        return None
    if value.dtype not in DTYPES:
        return f"{value.name} is of dtype {value.dtype}"
    return f"nobody knows how many dimensions {value.name} has" if value.shape is None else None


def _typed(value: Value, taken: set[str]) -> Typed:
    types = DTYPES.get(value.dtype)
    kind = "tensor" if types else "object" if value.dtype in {OBJECT, TUPLE} else value.dtype
    snake = _unique(_snake(value.name), taken)
    shape = value.shape or ()
    return Typed(value.name, snake, _camel(snake), kind, value.dtype, len(shape), shape, types)


def modules_by_model(kit: Kit) -> dict[str, dict[str, str]]:
    """The modules of a web kit: subject -> kind of device (`webgpu`, or `wasm` for the CPU) -> path."""
    kinds = {backend.name: "webgpu" if backend.device_kind == "webgpu" else "wasm" for backend in kit.backends}
    found: dict[str, dict[str, str]] = {model.subject: {} for model in kit.models}
    for module in kit.modules:
        found.setdefault(module.subject, {})[kinds[module.backend]] = module.path
    return found


def namespace(product: str) -> str:
    """What a product's name is in C++ and Swift."""
    name = identifier(product)
    return f"{name}_" if name in _CPP else name


def java_package(product: str) -> str:
    """The last part of the name of a product's package in Java."""
    name = identifier(product).lower()
    return f"{name}_" if name in _RESERVED else name


def places(kit: Kit) -> list[dict[str, object]]:
    """Where the models run: `[{condition, kind, device}]`, a condition of the C preprocessor, a number of DLPack's."""
    found = []
    for archive in kit.archives:
        system = COMPILER_MACROS[archive.platform]
        macros = MSVC_MACROS if archive.platform == "windows" else COMPILER_MACROS
        processors = " || ".join(f"defined({macros[one]})" for one in archive.architectures)
        kind = archive.backends[0].device_kind
        found.append({"condition": f"{system} && ({processors})", "kind": kind, "device": DLPACK_DEVICES.get(kind, 1)})
    return found


def _is_constant(value: object) -> bool:
    """Whether every language can write the value as a constant."""
    if isinstance(value, str):
        return value.isprintable()
    if isinstance(value, int):
        return abs(value) < _LARGEST
    return isinstance(value, float) and math.isfinite(value)


def _snake(text: str) -> str:
    return identifier(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)).lower().strip("_") or "_"


def _unique(name: str, taken: set[str]) -> str:
    name = identifier(name)
    while name in _RESERVED or name in taken:
        name += "_"
    taken.add(name)
    return name


def _pascal(snake: str) -> str:
    return identifier("".join(word[:1].upper() + word[1:] for word in snake.split("_")))


def _camel(snake: str) -> str:
    first, *rest = [word for word in snake.split("_") if word] or [snake]
    name = first + "".join(word[:1].upper() + word[1:] for word in rest)
    return name if name not in _RESERVED and snake[-1] != "_" else f"{name}_"
