"""What of a kit's models can be called, with names and types for each language: templates of bindings are made of it.

One signature is read here once; `linkkit` hands the result to the templates as `callable` and `places`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pipeline.documents.functions import OBJECT, SHAPE, TUPLE, Function, Value
from pipeline.documents.link_json import LinkJson
from pipeline.platforms import COMPILER_MACROS, DLPACK_DEVICES, MSVC_MACROS

from .escaping import identifier
from .kit import Kit


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
_ROOM = 64
_LONGEST = 100
"""Characters of a name: of some, Java makes names of files."""
_NOT_TENSORS = (SHAPE, OBJECT, TUPLE, "int", "float")

_CPP = frozenset({
    "alignas", "alignof", "and", "and_eq", "asm", "auto", "bitand", "bitor", "bool", "break", "case", "catch", "char",
    "char16_t", "char32_t", "char8_t", "class", "co_await", "co_return", "co_yield", "compl", "concept", "const",
    "const_cast", "consteval", "constexpr", "constinit", "continue", "decltype", "default", "delete", "do", "double",
    "dynamic_cast", "else", "enum", "errno", "explicit", "export", "extern", "far", "false", "float", "for", "friend",
    "goto", "if", "inline", "int", "linux", "long", "mutable", "namespace", "near", "noexcept", "not", "not_eq",
    "nullptr", "operator", "or", "or_eq", "private", "protected", "public", "register", "reinterpret_cast", "requires",
    "return", "short", "signed", "sizeof", "small", "static", "static_assert", "static_cast", "std", "struct", "switch",
    "template", "this", "thread_local", "throw", "true", "try", "typedef", "typeid", "typename", "typeof", "union",
    "unix", "unsigned", "using", "virtual", "void", "volatile", "wchar_t", "while", "xor", "xor_eq",
})  # fmt: skip
"""Words of C++, and what compilers for it or headers of systems predefine."""

_RESERVED = _CPP | frozenset({
    "_", "abstract", "arguments", "as", "assert", "associatedtype", "async", "await", "become", "bfloat16", "bool8",
    "boolean", "box", "bundle", "byte", "call", "clone", "close", "constructor", "crate", "debugger", "defer",
    "deinit", "detail", "device", "dyn", "equals", "eval", "extends", "extension", "fallthrough", "fileprivate",
    "final", "finalize", "finally", "float16", "fn", "func", "function", "functions", "gen", "get_class", "guard",
    "hash_code", "impl", "implements", "import", "in", "init", "inout", "instanceof", "interface", "internal", "is",
    "last", "let", "loop", "macro", "match", "mod", "model", "module", "move", "mut", "native", "new", "nil",
    "notify", "notify_all", "null", "object", "open", "override", "package", "precedencegroup", "priv", "protocol",
    "pub", "ref", "repeat", "results", "rethrows", "run", "runtime", "self", "strictfp", "subscript", "super",
    "synchronized", "tensor", "then", "throws", "to_string", "trait", "transient", "tvm", "type", "typealias",
    "unsafe", "unsized", "use", "var", "wait", "where", "with", "yield",
})  # fmt: skip
"""The same of Rust, Swift, Java and JavaScript too, methods that all objects have there, and what generated code calls
by these names itself."""

_TYPES = frozenset({
    "AnyModel", "AutoCloseable", "BFloat16", "Bf16", "Bool8", "CStr", "CString", "F16", "Float16", "Float32", "Float64",
    "Int16", "Int32", "Int64", "Int8", "ModelError", "ModelException", "OpenOptions", "RuntimeException",
    "SuppressWarnings", "TensorElement", "ToString", "UInt16", "UInt32", "UInt64", "UInt8", "WebRuntime",
})  # fmt: skip
"""Types of more than one part that generated code has or uses."""


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
        arguments: the inputs, typed; None where a binding cannot have types for it.
        results: likewise.
        constants: the arguments whose shape is a constant of the model, by what that is called in C++.
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
    constants: Mapping[str, Typed]
    untyped: str | None


@dataclass(frozen=True, slots=True)
class Bound:
    """A model with its functions.

    Attributes:
        snake: its name in C++, and of its module in Rust.
        pascal: its name as a type.
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


def bound_models(linked: LinkJson) -> tuple[Bound, ...]:
    """The models of a kit. Where its archives disagree about a model's functions, none of them has types."""
    taken: set[str] = set()
    found = []
    for subject, model in linked.models.items():
        agreed = all(subject not in archive.functions for archive in linked.archives)
        snake = _unique(subject, taken)
        members = {_plain(snake)}
        named = [(one, _unique(one.name, members)) for one in model.functions]
        functions = tuple(
            _function(one if agreed else replace(one, arguments=None, returns=None), name, members)
            for one, name in named
        )
        constants = ((name, value) for name, value in model.options.items() if _is_constant(value))
        options = {_unique(name, members): value for name, value in constants}
        found.append(
            Bound(subject, model.prefix, snake, _pascal(snake), model.abi.tvm, model.abi.tvm_ffi, functions, options)
        )
    return tuple(found)


def _function(function: Function, snake: str, members: set[str]) -> Callable:
    carried = [one for one in function.arguments or () if one.parameter]
    packed = len(carried) == 1 and carried[0].items is not None
    parameters = tuple((carried[0].items or ()) if packed else carried)
    inputs = tuple(one for one in function.arguments or () if not one.parameter)
    known = function.arguments is not None and function.returns is not None
    untyped = None if known else "the compiler did not say what it takes"
    for one in (*inputs, *(function.returns or ())):
        untyped = untyped or _why_untyped(one)
    if any(one.dtype == SHAPE for one in function.returns or ()):
        untyped = "it returns a shape"
    arguments = () if untyped else _typed(inputs)
    fixed = (one for one in arguments if one.kind == "tensor" and all(isinstance(extent, int) for extent in one.shape))
    return Callable(
        name=function.name,
        snake=snake,
        camel=_camel(snake),
        inputs=inputs,
        parameters=parameters,
        packed=packed,
        outputs=function.returns or (),
        known=known,
        arguments=arguments,
        results=() if untyped else _typed(function.returns or ()),
        constants={_unique(f"{snake}_{one.snake}_shape", members): one for one in fixed},
        untyped=untyped,
    )


def _why_untyped(value: Value) -> str | None:
    if value.dtype in _NOT_TENSORS:
        return None
    if value.dtype not in DTYPES:
        return f"{value.name} is of dtype {value.dtype}"
    return f"nobody knows how many dimensions {value.name} has" if value.shape is None else None


def _typed(values: Iterable[Value]) -> tuple[Typed, ...]:
    taken: set[str] = set()
    found = []
    for value in values:
        types = DTYPES.get(value.dtype)
        kind = "tensor" if types else "object" if value.dtype in {OBJECT, TUPLE} else value.dtype
        snake = _unique(value.name, taken)
        shape = value.shape or ()
        found.append(Typed(value.name, snake, _camel(snake), kind, value.dtype, len(shape), shape, types))
    return tuple(found)


def room(kit: Kit) -> int:
    """For how many results a call has room: those of any function, and enough where nobody says how many there are."""
    return max([_ROOM, *(len(one.returns or ()) for model in kit.models for one in model.functions)])


def modules_by_model(kit: Kit) -> dict[str, dict[str, str]]:
    """The modules of a web kit: subject -> kind of device (`webgpu`, or `wasm` for the CPU) -> path."""
    kinds = {backend.name: "webgpu" if backend.device_kind == "webgpu" else "wasm" for backend in kit.backends}
    found: dict[str, dict[str, str]] = {model.subject: {} for model in kit.models}
    for module in kit.modules:
        found.setdefault(module.model, {})[kinds[module.backend]] = module.file
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


def _unique(text: str, taken: set[str]) -> str:
    """The text as a name in C++ and Rust that is none of `taken` in any language's spelling, and goes there."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
    start = identifier(identifier(parted).lower().strip("_")[:_LONGEST])
    start = f"{start}_" if start in _RESERVED else start
    name, number = start, 1
    while _plain(name) in taken:
        number += 1
        name = f"{start.rstrip('_')}_{number}"
    taken.add(_plain(name))
    return name


def _plain(snake: str) -> str:
    """What names have in common that are one in some language."""
    return snake.replace("_", "")


def _pascal(snake: str) -> str:
    name = identifier("".join(word[:1].upper() + word[1:] for word in snake.split("_")))
    return f"{name}_" if name in _TYPES else name


def _camel(snake: str) -> str:
    first, *rest = [word for word in snake.split("_") if word] or [snake]
    name = identifier(first + "".join(word[:1].upper() + word[1:] for word in rest))
    return name if name not in _RESERVED and snake[-1] != "_" else f"{name}_"
