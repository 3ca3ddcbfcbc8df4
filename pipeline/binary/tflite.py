"""LiteRT models (`.tflite`) and bundles of them (`.task`): what they say of themselves, and whether all of it is there.

The step `model_file` calls `read_litert` for files of any origin. A `.tflite` is a FlatBuffer with the identifier TFL3,
a `.task` a zip in which such files lie uncompressed. Every offset is checked, and every count is bounded.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.files import open_regular

from .reader import FileWindow

IDENTIFIER = b"TFL3"
_VERSION = 3
"""The one version of the schema that there is."""
_ZIP = b"PK\x03\x04"

_MOST_BUFFERS = 1 << 18
_MOST_ITEMS = 1 << 12
"""Subgraphs, signatures, metadata, files of a bundle."""
_LONGEST_TEXT = 1 << 16
_LARGEST_READ = 16 << 20
"""What Python's zip reader may ask for at once: the table of a bundle's files."""

_U16, _U32, _I32, _U64 = (struct.Struct(layout) for layout in ("<H", "<I", "<i", "<Q"))
_LOCAL_HEADER = struct.Struct("<26xHH")

_VERSION_OF, _SUBGRAPHS, _DESCRIPTION, _BUFFERS, _METADATA, _SIGNATURES = 0, 2, 3, 4, 6, 7
_DATA, _OFFSET, _SIZE = 0, 1, 2
_NAME, _BUFFER = 0, 1
_KEY = 2
"""Numbers of the fields of a model, a buffer, an entry of its metadata, and a signature."""


@dataclass(frozen=True)
class Litert:
    """What a model says; a part of `model.json`.

    Attributes:
        version: of the schema.
        signatures: names of its entry points.
        metadata: names of what is attached to it.
        minimum_runtime: the oldest runtime for it, where it says so.
        parts: the files of the bundle that it came in.
        model: the one of them that is described.
    """

    version: int
    description: str
    subgraphs: int
    signatures: tuple[str, ...]
    metadata: tuple[str, ...]
    minimum_runtime: str | None = None
    parts: tuple[str, ...] | None = None
    model: str | None = None


def read_litert(path: Path) -> Litert:
    """Read a model, or the models of a bundle, of which the first is described.

    Raises:
        FormatError: it is neither, or it is cut or malformed.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        window = FileWindow(file.fileno(), str(path))
        head = window.cut(0, min(8, len(window)), "its head")
        if head.startswith(_ZIP):
            return _bundle(window, file)
        if head[4:8] != IDENTIFIER:
            hint = "give a .tflite file, or a .task bundle"
            raise window.bad("it is no LiteRT model: it has neither the identifier TFL3 nor a zip's", hint=hint)
        return read_tflite(window)


def read_tflite(window: FileWindow) -> Litert:
    """Read a FlatBuffer of TFLite's schema. Bytes that nothing in it points to are passed over, as LiteRT does.

    Raises:
        FormatError: it is malformed, or what its buffers tell of is not in the file.
    """
    model = _Table(window, window.number(_U32, 0, "its root"), "the model")
    version = model.number(_VERSION_OF, _U32)
    if version != _VERSION:
        raise window.bad(f"its schema has version {version}, and {_VERSION} is known")
    subgraphs = model.tables(_SUBGRAPHS, "subgraph", _MOST_ITEMS)
    if not subgraphs:
        raise window.bad("it has no subgraph")
    buffers = model.tables(_BUFFERS, "buffer", _MOST_BUFFERS)
    contents = [_content(buffer) for buffer in buffers]
    metadata = {one.text(_NAME): one.number(_BUFFER, _U32) for one in model.tables(_METADATA, "metadata", _MOST_ITEMS)}
    signatures = model.tables(_SIGNATURES, "signature", _MOST_ITEMS)
    return Litert(
        version=version,
        description=model.text(_DESCRIPTION),
        subgraphs=len(subgraphs),
        signatures=tuple(one.text(_KEY) for one in signatures),
        metadata=tuple(metadata),
        minimum_runtime=_minimum_runtime(window, metadata.get("min_runtime_version"), contents),
    )


def _content(buffer: _Table) -> tuple[int, int]:
    """Where the bytes of a buffer are, and how many: behind the FlatBuffer in files of more than 2 GiB."""
    window = buffer.window
    offset, size = buffer.number(_OFFSET, _U64), buffer.number(_SIZE, _U64)
    if offset <= 1:
        offset, size = buffer.vector(_DATA, 1)
    if offset + size > len(window):
        raise window.bad(f"it is cut: {buffer.what} ends at byte {offset + size}, and the file at {len(window)}")
    return offset, size


def _minimum_runtime(window: FileWindow, number: int | None, contents: list[tuple[int, int]]) -> str | None:
    if number is None or number >= len(contents):
        return None
    offset, size = contents[number]
    said = window.cut(offset, min(size, _LONGEST_TEXT), "its minimum runtime").rstrip(b"\0")
    return said.decode(errors="replace") or None


@dataclass(frozen=True)
class _Table:
    """A table of a FlatBuffer: its fields are found by way of a list of offsets before or behind it."""

    window: FileWindow
    at: int
    what: str

    def _field(self, number: int) -> int:
        """Where a field is; 0 where the table has none."""
        fields = self.at - self.window.number(_I32, self.at, self.what)
        if self.window.number(_U16, fields, f"the fields of {self.what}") < 6 + 2 * number:
            return 0
        offset = self.window.number(_U16, fields + 4 + 2 * number, f"the fields of {self.what}")
        return self.at + offset if offset else 0

    def number(self, number: int, layout: struct.Struct) -> int:
        """A number; 0 is the default."""
        at = self._field(number)
        return self.window.number(layout, at, self.what) if at else 0

    def vector(self, number: int, size: int) -> tuple[int, int]:
        """Where the items of a vector begin, and how many there are."""
        at = self._field(number)
        if not at:
            return 0, 0
        start = at + self.window.number(_U32, at, self.what)
        count = self.window.number(_U32, start, self.what)
        if start + 4 + count * size > len(self.window):
            raise self.window.bad(
                f"it is cut: {self.what} ends at byte {start + 4 + count * size}, and the file at {len(self.window)}",
            )
        return start + 4, count

    def text(self, number: int) -> str:
        """A text; empty where there is none."""
        start, size = self.vector(number, 1)
        if size > _LONGEST_TEXT:
            raise self.window.bad(f"a text of {self.what} claims {size} bytes")
        return self.window.cut(start, size, self.what).decode(errors="replace")

    def tables(self, number: int, what: str, most: int) -> list[_Table]:
        """The tables of a vector."""
        start, count = self.vector(number, 4)
        if count > most:
            raise self.window.bad(f"it claims {count} of {what}, which no model has")
        places = (start + 4 * i for i in range(count))
        offsets = ((at, self.window.number(_U32, at, what)) for at in places)
        return [_Table(self.window, at + offset, f"{what} {i}") for i, (at, offset) in enumerate(offsets)]


# Bundles


class _Bounded(io.RawIOBase):
    """A file for Python's zip reader, which reads as much as the file says."""

    def __init__(self, file: io.RawIOBase, size: int) -> None:
        self._file = file
        self._size = size

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        wanted = self._size - self.tell() if size < 0 else size
        if wanted > _LARGEST_READ:
            raise zipfile.BadZipFile("the table of its files is too large")
        return self._file.read(max(0, wanted)) or b""


def _bundle(window: FileWindow, file: object) -> Litert:
    assert isinstance(file, io.RawIOBase)  # noqa: S101 - opened unbuffered
    try:
        with zipfile.ZipFile(_Bounded(file, len(window))) as bundle:
            infos = bundle.infolist()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, OverflowError, OSError, EOFError) as bad:
        raise window.bad(f"it is cut, or no zip: {bad}") from bad
    except struct.error as bad:
        raise window.bad("it is cut, or no zip: the table of its files is malformed") from bad
    names = [info.filename for info in infos]
    if len(names) > _MOST_ITEMS or len(set(names)) < len(names):
        raise window.bad(f"it names {len(names)} files, {len(set(names))} of them different")
    models = list(_models(window, infos))
    if not models:
        hint = "a .task bundle holds its model uncompressed, as MediaPipe's bundler writes it"
        raise window.bad("no file in it is a LiteRT model", hint=hint)
    name, model = models[0]
    return replace(model, parts=tuple(names), model=name)


def _models(window: FileWindow, infos: list[zipfile.ZipInfo]) -> Iterator[tuple[str, Litert]]:
    for info in infos:
        if info.flag_bits & 1:
            raise window.bad(f"{info.filename} in it is encrypted", hint="get it unencrypted")
        at = info.header_offset
        if window.cut(at, len(_ZIP), f"the header of {info.filename}") != _ZIP:
            raise window.bad(f"{info.filename} is not where the zip says")
        name, extra = window.unpack(_LOCAL_HEADER, at, f"the header of {info.filename}")
        content = window.part(at + _LOCAL_HEADER.size + name + extra, info.compress_size, info.filename)
        stored = info.compress_type == zipfile.ZIP_STORED and len(content) >= 8  # noqa: PLR2004 - root and identifier
        if stored and content.cut(4, 4, "its identifier") == IDENTIFIER:
            yield info.filename, read_tflite(content)
