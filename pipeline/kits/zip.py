"""Writes zip files whose bytes depend on nothing but the names, modes and contents of what is in them.

`xcframework` calls it: SwiftPM pins a binary target by the SHA-256 of its zip, so the zip of an unchanged product must
not change. `aar` calls it: Android maps libraries out of a zip, where their content begins at a page.
"""

from __future__ import annotations

import io
import shutil
import stat
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, BinaryIO

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time a zip can carry."""

_UNIX = 3
_LOCAL_HEADER = struct.Struct("<4s22x2H")
"""Of an entry's own header: its signature, and the lengths of its name and extra field, behind which its content is."""
_SIGNATURE = b"PK\3\4"
_ALIGNMENT, _ALIGNMENT_ID = struct.Struct("<3H"), 0xD935
"""An extra field: its number, its size, and what the entry is aligned to; zeros follow."""

_FILE, _PROGRAM = 0o644, 0o755


def write_zip(archive: Path, folder: Path) -> None:
    """Pack `folder`, with its own name as the only entry at the root, into `archive`.

    Names are sorted, times fixed, modes 0644 or 0755, and no entry carries an extra field. Entries are stored, not
    deflated: what deflate writes differs between builds of zlib, and then so would the checksum. Symbolic links are
    followed.
    """
    paths = (path for path in folder.rglob("*") if path.is_file())
    write_entries(archive, {f"{folder.name}/{path.relative_to(folder).as_posix()}": path for path in paths})


def write_entries(
    archive: Path | BinaryIO, entries: Mapping[str, Path | bytes], *, aligned: Mapping[str, int] | None = None
) -> None:
    """Write a zip in the manner of `write_zip`: name -> content, or the file that has it.

    In `aligned`, what the place of the content of entries with such an end must be a multiple of: `{".so": 16384}`.
    """
    with zipfile.ZipFile(archive, "w", compression=zipfile.ZIP_STORED, allowZip64=True) as packed:
        for name in sorted(entries):
            content = entries[name]
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system = _UNIX
            status = content.stat() if isinstance(content, Path) else None
            mode = _PROGRAM if status is not None and status.st_mode & stat.S_IXUSR else _FILE
            info.external_attr = (stat.S_IFREG | mode) << 16
            info.file_size = status.st_size if status is not None else len(content) if isinstance(content, bytes) else 0
            step = next((step for end, step in (aligned or {}).items() if name.endswith(end)), 1)
            info.extra = _padding(packed.start_dir + _LOCAL_HEADER.size + len(name.encode()), step)
            with _opened(content) as source, packed.open(info, "w") as entry:
                shutil.copyfileobj(source, entry, 1 << 20)


def content_at(archive: IO[bytes], entry: zipfile.ZipInfo) -> int:
    """Where in a zip the content of an entry begins.

    Raises:
        BadZipFile: there is no header where it should be.
    """
    archive.seek(entry.header_offset)
    signature, name, extra = _LOCAL_HEADER.unpack(archive.read(_LOCAL_HEADER.size))
    if signature != _SIGNATURE:
        raise zipfile.BadZipFile(f"{entry.filename} has no header")
    return entry.header_offset + int(_LOCAL_HEADER.size + name + extra)


def _opened(content: Path | bytes) -> BinaryIO:
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")


def _padding(at: int, step: int) -> bytes:
    """The extra field after which an entry's content is at a multiple of `step`: the one that Android's tools write."""
    if step == 1:
        return b""
    room = -(at + _ALIGNMENT.size) % step
    return _ALIGNMENT.pack(_ALIGNMENT_ID, 2 + room, step) + bytes(room)
