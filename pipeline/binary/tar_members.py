"""Reads and writes the tar that TVM's `export_library` writes, as bytes: nothing is ever unpacked to disk.

Compilers call `read_tar`. The tar itself is never kept or hashed: its dates, owners and order differ in every run
although its members do not. Layouts call `write_tar`, whose tars differ only where members do.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import PurePosixPath

from pipeline.errors import FormatError

from .ar import TOO_LARGE_HINT, Member

_GZIP_MAGIC = b"\x1f\x8b"
_REBUILD = "export the library again"


def read_tar(data: bytes, where: str = "tar", *, limit: int = 8 << 30) -> tuple[Member, ...]:
    """Read the regular files of a tar, gzipped or not, sorted by name.

    Directories are left out, and so are `._*` files, which macOS's tar makes of extended attributes.

    Raises:
        FormatError: it is malformed or has more than `limit` bytes unzipped; a name is absolute, leads outside or is
            there twice; a member is a link, a device or sparse.
    """
    if data.startswith(_GZIP_MAGIC):
        data = _unzipped(data, where, limit)
    members: dict[str, Member] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for entry in tar:
                member = _member(tar, entry, where)
                if member is None:
                    continue
                if member.name in members:
                    raise FormatError(f"has two files called {member.name}", where=where, hint=_REBUILD)
                members[member.name] = member
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError) as broken:
        raise FormatError(f"is no whole tar file: {broken}", where=where, hint=_REBUILD) from broken
    return tuple(members[name] for name in sorted(members))


def write_tar(members: Iterable[Member]) -> bytes:
    """Write a plain tar of regular files, sorted by name, without dates and owners."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member in sorted(members, key=lambda one: one.name):
            entry = tarfile.TarInfo(member.name)  # its date is 0, its owner 0 without a name, its mode 0644
            entry.size = len(member.data)
            tar.addfile(entry, io.BytesIO(member.data))
    return out.getvalue()


def _unzipped(data: bytes, where: str, limit: int) -> bytes:
    unzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        tar = unzip.decompress(data, limit + 1)
    except zlib.error as broken:
        raise FormatError(f"is no whole gzip file: {broken}", where=where, hint=_REBUILD) from broken
    if len(tar) > limit:
        raise FormatError(f"is larger than {limit} bytes unzipped", where=where, hint=TOO_LARGE_HINT)
    if not unzip.eof:
        raise FormatError("is no whole gzip file: it ends too early", where=where, hint=_REBUILD)
    return tar


def _member(tar: tarfile.TarFile, entry: tarfile.TarInfo, where: str) -> Member | None:
    path = PurePosixPath(entry.name)
    if path.is_absolute() or ".." in path.parts or "\\" in entry.name or "\0" in entry.name:
        raise FormatError(f"the name {entry.name!r} leads outside", where=where, hint=_REBUILD)
    if entry.isdir() or path.name.startswith("._"):
        return None
    file = tar.extractfile(entry) if entry.isreg() and not entry.issparse() else None
    if file is None:
        raise FormatError(f"{entry.name!r} is no plain file (a link, a device, sparse)", where=where, hint=_REBUILD)
    return Member(path.as_posix(), file.read())
