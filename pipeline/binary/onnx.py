"""The files beside an ONNX model in which it keeps tensors: `torch.onnx.export` writes `model.onnx.data` by default.

`pipeline.engine.sources` asks, since they are inputs like the model itself. See onnx.proto: a `TensorProto` has
`external_data` (13), whose entries are pairs of key (1) and value (2).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pipeline.files import State

from .protobuf import BYTES, VARINT, fields

_INSIDE = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
"""Message -> number of a field -> the message in it, for all that lead to tensors."""

_MODEL = {1: VARINT, 5: VARINT, **dict.fromkeys((2, 3, 4, 6, 7, 8, 14, 20, 25), BYTES)}
"""The fields of a model: any other file is soon seen not to be one, and not read on."""


@cache
def external_files(path: Path, _state: State) -> tuple[str, ...]:
    """The files that a model's tensors are in, relative to its folder, sorted; none where it is no ONNX model.

    The model is read again only when the state of its file differs.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return tuple(sorted({name for name in _locations(data) if name and "\0" not in name}))
    except (OSError, ValueError):  # whoever digests or reads the file says what is wrong with it
        return ()


def _locations(data: mmap.mmap) -> Iterator[str]:
    todo = [("model", 0, len(data))]
    while todo:
        message, start, end = todo.pop()
        if message == "entry":
            pair = {number: data[at:stop] for number, _, at, stop in fields(data, start, end)}
            if pair.get(1) == b"location":
                yield pair.get(2, b"").decode("utf-8", "surrogateescape")
            continue
        inside = _INSIDE[message]
        for number, kind, at, stop in fields(data, start, end):
            if message == "model" and _MODEL.get(number, kind) != kind:
                raise ValueError("this is no model")
            if kind == BYTES and number in inside:
                todo.append((inside[number], at, stop))
