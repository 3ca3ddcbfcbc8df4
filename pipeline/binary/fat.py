"""Fat files: one file with a slice per processor, as `lipo -create` writes them.

`write_fat` gives the bytes `llvm-lipo` gives, for archives as for objects and images. One fat file holds each processor
once; slices for different platforms of one processor (iOS and Catalyst) belong in an xcframework instead. The layout is
that of Apple's public header `mach-o/fat.h`: everything in it is big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.errors import FormatError

from . import ar, macho
from .reader import Window

MAGIC = b"\xca\xfe\xba\xbe"
MAGIC_64 = b"\xca\xfe\xba\xbf"

_HEADER = struct.Struct(">4sI")
_SLICE = struct.Struct(">5I")
_SLICE_64 = struct.Struct(">2I2QI4x")
_MOST_SLICES = 32
"""Java class files share the magic number; where fat files count slices they have a version, which is 45 or more."""

_CPU_ARM64 = 0x0100000C
_ARCHIVE_ALIGNMENT = 3
_IMAGE_ALIGNMENTS = {_CPU_ARM64: 14}
_DEFAULT_IMAGE_ALIGNMENT = 12


@dataclass(frozen=True, slots=True)
class Slice:
    """The file for one processor (`arm64`, `x86_64`, …): a static archive, an object or an image."""

    arch: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Placed:
    """A slice and what the fat header says of it. `alignment` is the power of two its offset is a multiple of."""

    slice: Slice
    cpu: int
    subtype: int
    alignment: int


def write_fat(slices: Iterable[Slice], where: str = "fat file") -> bytes:
    """Join slices, one a processor, into one fat file; what each calls its processor is held to its objects.

    The order of the slices does not matter: they are sorted as `lipo` does (arm64 last).

    Raises:
        FormatError: a slice is not for the processor it claims or is no Mach-O, or the file would be larger than 4 GiB.
    """
    placed = [_place(piece, where) for piece in slices]
    placed.sort(key=lambda piece: (piece.cpu == _CPU_ARM64, piece.alignment, piece.cpu, piece.subtype))
    header = _HEADER.pack(MAGIC, len(placed))
    end = len(header) + _SLICE.size * len(placed)
    bodies: list[bytes] = []
    for piece in placed:
        padding = -end % (1 << piece.alignment)
        offset, size = end + padding, len(piece.slice.data)
        if offset + size >= 1 << 32:
            raise FormatError("is larger than 4 GiB", where=where, hint=ar.TOO_LARGE_HINT)
        header += _SLICE.pack(piece.cpu, piece.subtype, offset, size, piece.alignment)
        bodies += [b"\0" * padding, piece.slice.data]
        end = offset + size
    return b"".join([header, *bodies])


def _place(piece: Slice, where: str) -> _Placed:
    """Find the processor in the Mach-O header, or in those of an archive's members, which must agree."""
    name = f"{where}({piece.arch})"
    if piece.data.startswith(ar.MAGIC):
        headers = {
            (header.arch, header.cpu, header.subtype)
            for member in ar.read_archive(piece.data, name)
            for header in [macho.read_header(member.data, f"{name}({member.name})")]
        }
        alignment = _ARCHIVE_ALIGNMENT
    else:
        header = macho.read_header(piece.data, name)
        headers = {(header.arch, header.cpu, header.subtype)}
        alignment = _IMAGE_ALIGNMENTS.get(header.cpu, _DEFAULT_IMAGE_ALIGNMENT)
    found = sorted({arch for arch, _, _ in headers})
    if found != [piece.arch] or len(headers) != 1:
        raise FormatError(
            f"a slice said to be for {piece.arch} is for {' and '.join(found) or 'nothing: it is an empty archive'}",
            where=where,
            hint=f"give the archive that was compiled for {piece.arch} and nothing else",
        )
    ((_, cpu, subtype),) = headers
    return _Placed(piece, cpu, subtype, alignment)


def is_fat(data: bytes) -> bool:
    """Whether this is a fat file, as far as its first 8 bytes tell."""
    return data[:4] in (MAGIC, MAGIC_64) and 0 < int.from_bytes(data[4:8], "big") <= _MOST_SLICES


def read_fat(data: bytes, where: str = "fat file") -> tuple[Slice, ...]:
    """Take a fat file apart.

    Raises:
        FormatError: it is no fat file, its slices overlap or go beyond its end, or two are for one processor.
    """
    window = Window(data, where)
    if not is_fat(data):
        raise window.bad("is no fat file", hint="give what lipo -create or llvm-lipo wrote")
    layout = _SLICE if data.startswith(MAGIC) else _SLICE_64
    count = int.from_bytes(data[4:8], "big")
    records = list(window.table(layout, _HEADER.size, count, "the fat header"))
    slices: dict[str, Slice] = {}
    end = _HEADER.size + layout.size * count
    for cpu, subtype, offset, size, _alignment in sorted(records, key=lambda record: record[2]):
        arch = macho.arch_name(cpu, subtype) or f"cpu-{cpu:#x}"
        if offset < end:
            raise window.bad(f"the slice for {arch} overlaps what is before it")
        if arch in slices:
            raise window.bad(f"has two slices for {arch}")
        slices[arch] = Slice(arch, window.cut(offset, size, f"the slice for {arch}"))
        end = offset + size
    return tuple(slices.values())
