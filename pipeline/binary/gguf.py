"""GGUF files, as llama.cpp reads them: what the header says of a model, and whether its tensors are all there.

The step `model_file` calls `read_gguf` for files of any origin. Only the header is read, within bounds; of tensors
their places are held to the size of the file.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import FormatError
from pipeline.files import open_regular

from .reader import FileWindow, decode_name, encode_name

MAGIC = b"GGUF"
_VERSIONS = (2, 3)

_MOST_KEYS = 1 << 16
_MOST_TENSORS = 1 << 17
_MOST_VALUES = 1 << 23
"""Of all arrays together; a vocabulary has 2^18 with as many scores, and twice as many merges."""
_LONGEST_NAME = 1 << 16
_LONGEST_TENSOR = 63
"""Bytes of a tensor's name that llama.cpp has room for."""
_LONGEST_KEPT = 1 << 10
"""Bytes of a text that is kept; longer ones (templates of chats) are passed over."""
_MOST_DIMENSIONS = 4
_MOST_ALIGNED = 1 << 16

_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_STRING, _ARRAY = 8, 9
_LAYOUTS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_SCALARS = {code: struct.Struct(f"<{layout}") for code, layout in _LAYOUTS.items()}

TENSOR_TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip
"""Number of a type of tensors -> name, elements of a block, bytes of a block."""

FILE_TYPES: Mapping[int, str] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    40: "Q1_0",
}  # fmt: skip
"""`general.file_type` -> what the whole file is called."""

Scalar = str | int | float | bool


@dataclass(frozen=True)
class Gguf:
    """What the header says; a part of `model.json`.

    Attributes:
        version: of the format.
        architecture: `general.architecture`: `gemma3n`, `qwen3`.
        parameters: elements of all tensors.
        quantization: what the file is called (`Q4_K_M`), else the type of most elements.
        name: `general.name`, where it has one.
        context_length: tokens that it was trained for, where it says so.
    """

    version: int
    architecture: str
    parameters: int
    quantization: str
    name: str | None = None
    context_length: int | None = None


@dataclass(frozen=True)
class _Tensor:
    name: str
    type: str
    elements: int
    size: int
    offset: int


def read_gguf(path: Path) -> Gguf:
    """Read the header, and check that every tensor it tells of is in the file.

    Raises:
        FormatError: it is no GGUF file that llama.cpp could load, or it is cut.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        return _Reader(FileWindow(file.fileno(), str(path))).read()


class _Reader:
    """Walks the header from its start to its end."""

    def __init__(self, window: FileWindow) -> None:
        self._window = window
        self._at = 0
        self._values_left = _MOST_VALUES

    def read(self) -> Gguf:
        version, tensor_count, key_count = self._head()
        values = self._metadata(key_count)
        tensors = self._tensors(tensor_count)
        self._check_places(tensors, self._alignment(values))
        architecture = values.get("general.architecture")
        if not isinstance(architecture, str) or not architecture.isprintable() or not architecture:
            raise self._bad("it does not say what architecture it has (general.architecture)")
        if (kind := values.get("general.type")) in {"adapter", "imatrix", "vocab"}:
            raise self._bad(f"it is no model, but of type {kind}", "give the file of the model that it belongs to")
        parts = values.get("split.count", 0)
        if isinstance(parts, int) and parts > 1:
            hint = "merge the parts first: llama-gguf-split --merge FIRST_PART OUT.gguf"
            raise self._bad(f"it is one of {parts} parts of a model", hint)
        types: dict[str, int] = {}
        for tensor in tensors:
            types[tensor.type] = types.get(tensor.type, 0) + tensor.elements
        return Gguf(
            version=version,
            architecture=architecture,
            name=name if isinstance(name := values.get("general.name"), str) else None,
            parameters=sum(tensor.elements for tensor in tensors),
            quantization=_quantization(values.get("general.file_type"), types),
            context_length=_whole(values.get(f"{architecture}.context_length")),
        )

    def _head(self) -> tuple[int, int, int]:
        if len(self._window) < len(MAGIC) or self._take(len(MAGIC), "its magic") != MAGIC:
            raise self._bad("it is not a GGUF file: it does not begin with GGUF", "give the .gguf file of a model")
        version = self._u32("its version")
        if version not in _VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS
            what = "it is made for big-endian machines" if swapped else f"its version is {version}, not 2 or 3"
            raise self._bad(what, "get it in version 3 (little-endian), or convert the model again")
        tensors, keys = self._u64("the number of tensors"), self._u64("the number of keys")
        if tensors > _MOST_TENSORS or keys > _MOST_KEYS:
            raise self._bad(f"it claims {tensors} tensors and {keys} keys, which no model has")
        if not tensors:
            raise self._bad("it has no tensors", "give the file with the weights, not a vocabulary alone")
        return version, tensors, keys

    def _metadata(self, count: int) -> dict[str, Scalar]:
        """Its keys with those values that are numbers and short texts."""
        values: dict[str, Scalar] = {}
        seen: set[str] = set()
        for _ in range(count):
            key = self._name("a key")
            if key in seen:
                raise self._bad(f"the key {key!r} is there twice")
            seen.add(key)
            value = self._value(self._u32(f"the type of {key!r}"), key)
            if value is not None:
                values[key] = value
        return values

    def _value(self, kind: int, key: str) -> Scalar | None:
        what = f"the value of {key!r}"
        if kind == _STRING:
            size = self._u64(f"the length of {what}")
            if size > _LONGEST_KEPT:
                self._skip(size, what)
                return None
            return self._take(size, what).decode(errors="replace")
        if kind == _ARRAY:
            self._pass_array(key)
            return None
        if kind not in _SCALARS:
            raise self._bad(f"{what} has type {kind}, which the format does not know")
        layout = _SCALARS[kind]
        value: Scalar = layout.unpack(self._take(layout.size, what))[0]
        return value

    def _pass_array(self, key: str) -> None:
        what = f"the array {key!r}"
        kind, count = self._u32(f"the type of {what}"), self._u64(f"the length of {what}")
        self._values_left -= min(count, self._values_left + 1)
        if self._values_left < 0:
            raise self._bad(f"{what} claims {count} values, which no model has")
        if kind in _SCALARS:
            self._skip(_SCALARS[kind].size * count, what)
        elif kind == _STRING:
            for _ in range(count):
                self._skip(self._u64(what), what)
        else:
            raise self._bad(f"{what} holds values of type {kind}, which the format does not know")

    def _tensors(self, count: int) -> list[_Tensor]:
        tensors = [self._tensor() for _ in range(count)]
        if len({tensor.name for tensor in tensors}) < count:
            raise self._bad("two of its tensors have the same name")
        return tensors

    def _tensor(self) -> _Tensor:
        name = self._name("the name of a tensor")
        if len(encode_name(name)) > _LONGEST_TENSOR:
            raise self._bad(f"the name of tensor {name[:80]!r} has more than {_LONGEST_TENSOR} bytes")
        dimensions = self._u32(f"the dimensions of {name!r}")
        if dimensions > _MOST_DIMENSIONS:
            raise self._bad(f"the tensor {name!r} claims {dimensions} dimensions; there are at most {_MOST_DIMENSIONS}")
        shape = [self._u64(f"the shape of {name!r}") for _ in range(dimensions)]
        kind, offset = self._u32(f"the type of {name!r}"), self._u64(f"the offset of {name!r}")
        if kind not in TENSOR_TYPES:
            hint = "take another quantization of the model, or a newer Slipway that knows this one"
            raise self._bad(f"the tensor {name!r} has type {kind}, which is not known here", hint)
        called, block, size = TENSOR_TYPES[kind]
        elements = math.prod(shape)
        if (shape[0] if shape else 1) % block:
            raise self._bad(f"the rows of tensor {name!r} have {shape[0]} elements, and {called} comes in {block}s")
        return _Tensor(name, called, elements, elements // block * size, offset)

    def _alignment(self, values: Mapping[str, Scalar]) -> int:
        alignment = _whole(values.get("general.alignment", 32))
        if alignment is None or not 0 < alignment <= _MOST_ALIGNED or alignment & (alignment - 1):
            raise self._bad("its alignment (general.alignment) is no power of two")
        return alignment

    def _check_places(self, tensors: list[_Tensor], alignment: int) -> None:
        """Each tensor must begin where the one before it ends, aligned, as llama.cpp wants it; all in the file.

        What is behind the last one llama.cpp passes over, and so is it here: padding, a signature.
        """
        start = _aligned(self._at, alignment)
        end = 0
        for tensor in tensors:
            if tensor.offset != end:
                raise self._bad(f"the tensor {tensor.name!r} is said to be at {tensor.offset}, and belongs at {end}")
            last = start + tensor.offset + tensor.size
            if last > len(self._window):
                raise self._bad(
                    f"it is cut: the tensor {tensor.name!r} ends at byte {last}, and the file at {len(self._window)}"
                )
            end = _aligned(tensor.offset + tensor.size, alignment)

    # Reading

    def _take(self, size: int, what: str) -> bytes:
        return self._window.cut(self._skip(size, what), size, what)

    def _skip(self, size: int, what: str) -> int:
        """Go behind the next bytes, and say where they are."""
        at = self._at
        if at + size > len(self._window):
            raise self._bad(f"it is cut in its header: {what} goes beyond its {len(self._window)} bytes")
        self._at += size
        return at

    def _u32(self, what: str) -> int:
        return int(_U32.unpack(self._take(4, what))[0])

    def _u64(self, what: str) -> int:
        return int(_U64.unpack(self._take(8, what))[0])

    def _name(self, what: str) -> str:
        size = self._u64(f"the length of {what}")
        if size > _LONGEST_NAME:
            raise self._bad(f"{what} claims to have {size} bytes")
        if not size:
            raise self._bad(f"{what} is empty")
        return decode_name(self._take(size, what))

    def _bad(self, what: str, hint: str | None = None) -> FormatError:
        return self._window.bad(what, hint=hint)


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


def _whole(value: Scalar | None) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _quantization(file_type: Scalar | None, types: Mapping[str, int]) -> str:
    named = FILE_TYPES.get(-1 if (number := _whole(file_type)) is None else number)
    return named or max(types, key=lambda one: (types[one], one))
