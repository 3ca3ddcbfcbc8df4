"""The files of an app, whatever it is packed in: a folder, a zip (`.ipa`, `.apk`), an installer package, a lone binary.

`contents` iterates over them. Nothing is extracted: a file's bytes are read into memory when asked for, and sizes are
believed only up to a limit. A package inside a zip (the `.ipa` of a CI artifact, the `.apk`s of an `.apks`) is opened.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from pipeline.documents import untrusted
from pipeline.errors import FormatError, SlipwayError
from pipeline.kits.zip import content_at

from . import installer

HEAD = 8
"""Bytes of `File.head`: enough to tell every format apart."""
LARGEST = 1 << 30
"""Bytes of the largest file that is read."""
MOST_READ = 4 << 30
"""Bytes that are read of one app."""
_ALWAYS_FINE, _RATIO = 256 << 20, 200
"""A file of a zip may unpack to 256 MiB, or to 200 times its size."""
_MOST_FILES = 500_000
_DEEPEST = 3
"""Packages within packages: an `.apk` in the `.apks` in a zip."""

FOLDERS = {".app", ".appex", ".framework", ".xcarchive", ".xcframework"}
ZIPS = {".ipa", ".apk", ".aab", ".apks", ".zip"}
_IGNORED = {"dSYMs", "BCSymbolMaps", "_CodeSignature", "__MACOSX"}
"""Folders without code that runs; a dSYM even holds a Mach-O file of each image."""
SUPPORTED = (
    ".ipa, .app, .xcarchive, .pkg, .framework, .xcframework, .apk, .aab, .apks, .zip, .a, .dylib, .so or an executable"
)
_LIBRARY = re.compile(r"(?:^|/)lib/[^/]+/[^/]+\.so$")
_AGAIN = "export the app again"


@dataclass(frozen=True, slots=True)
class File:
    """A regular file of an app.

    Attributes:
        path: inside the container, with `/`.
        size: in bytes, as the container says.
        head: its first `HEAD` bytes.
        load: reads all of it; only while this file is the one the iteration is at.
        stored_at: of a shared library that lies uncompressed in an `.apk`: where its bytes begin in that.
    """

    path: str
    size: int
    head: bytes = field(repr=False)
    load: Callable[[], bytes] = field(repr=False)
    stored_at: int | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """An app as it was given: `kind` is its suffix without the dot, `binary` for a lone file of machine code.

    `libraries` are those that a lone one loads, as far as they were given.
    """

    path: Path
    kind: str
    libraries: tuple[Path, ...] = ()

    def files(self) -> Iterator[File]:
        """Every regular file, once; links are left out, since what they lead to comes by itself.

        Raises:
            FormatError: it is damaged, encrypted, or declares sizes that no app has.
        """
        budget = _Budget(self.path)
        with _complaints(self.path):
            if self.path.is_dir():
                found = _folder(self.path)
            elif self.kind == "pkg":
                found = _package(self.path)
            elif self.kind == "binary":
                found = (_on_disk(path, path.name) for path in (self.path, *self.libraries))
            else:
                found = _zip(self.path, budget)
            for number, file in enumerate(found):
                if number >= _MOST_FILES:
                    raise FormatError(f"holds more than {_MOST_FILES} files", where=self.path, hint=_AGAIN)
                yield replace(file, load=partial(budget.load, file))


@dataclass
class _Budget:
    """How much of a container may still be read: packages hold the same bytes many times over, by their own word."""

    path: Path
    left: int = field(default_factory=lambda: MOST_READ)

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            hint = "give a part of it, or leave some of it out: --exclude PATTERN"
            raise FormatError(f"holds more than {MOST_READ >> 30} GiB of code and packages", where=self.path, hint=hint)

    def load(self, file: File) -> bytes:
        self.take(file.size)
        with _complaints(self.path):
            return file.load()


def open_container(path: Path, *libraries: Path) -> Container:
    """Say what an app is packed in, by its content, and by its name where content does not tell.

    Raises:
        SlipwayError: there is nothing, or it is of a kind that is not supported; or `libraries` are beside an app.
    """
    if libraries:
        given = [open_container(one) for one in (path, *libraries)]
        if other := [one.path.name for one in given if one.kind != "binary"]:
            what = f"{', '.join(other)}: only a lone program or library is given with libraries that it loads"
            raise SlipwayError(what, hint="give an app by itself: what is in it is looked at")
        return Container(path, "binary", libraries)
    suffix = path.suffix.lower()
    if path.is_dir():
        if suffix not in FOLDERS:
            raise SlipwayError("is a folder, and none of an app", where=path, hint=f"give {SUPPORTED}")
        return Container(path, suffix[1:])
    head = untrusted.head(path, HEAD)
    if head.startswith(b"PK"):
        return Container(path, suffix[1:] if suffix in ZIPS else "zip")
    if head.startswith(installer.MAGIC):
        return Container(path, "pkg")
    if suffix in {".dmg", ".msi", ".7z", ".deb", ".rpm"} or suffix in FOLDERS | ZIPS | {".pkg"}:
        raise SlipwayError(f"is no {suffix} that can be read here", where=path, hint=f"give {SUPPORTED}")
    return Container(path, "binary")


def read_limited(file: File, where: Path | str, limit: int = LARGEST) -> bytes:
    """The content of a file that has a sane size.

    Raises:
        FormatError: it is larger than `limit`, or damaged.
    """
    if file.size > limit:
        raise FormatError(f"{file.path} is larger than {limit} bytes", where=where, hint=_AGAIN)
    return file.load()


def is_ignored(path: str) -> bool:
    """Whether a path leads into a folder whose files never run."""
    return any(part in _IGNORED or part.endswith(".dSYM") for part in PurePosixPath(path).parts)


def _folder(root: Path) -> Iterator[File]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not is_ignored(name))
        for name in sorted(names):
            path = Path(folder, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield _on_disk(path, path.relative_to(root.parent).as_posix())


def _on_disk(path: Path, name: str) -> File:
    with path.open("rb") as file:
        head = file.read(HEAD)
    return File(name, path.stat().st_size, head, path.read_bytes)


def _zip(source: Path | IO[bytes], budget: _Budget, prefix: str = "", depth: int = 1) -> Iterator[File]:
    path = budget.path
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir() or kind not in {0, stat.S_IFREG} or is_ignored(info.filename):
                continue
            name = prefix + info.filename
            if info.flag_bits & 1:
                raise FormatError(f"{name} is encrypted", where=path, hint="give the app without a password")
            # A zip's reader stops at the declared size, so a bomb has to declare itself.
            if info.file_size > max(_ALWAYS_FINE, _RATIO * info.compress_size):
                raise FormatError(f"{name} unpacks to {info.file_size} bytes: a bomb", where=path, hint=_AGAIN)
            with archive.open(info) as file:
                head = file.read(HEAD)
            if head.startswith(b"PK") and PurePosixPath(info.filename).suffix.lower() in ZIPS:
                budget.take(info.file_size)
                yield from _nested(archive, info, budget, prefix, depth)
            else:
                yield File(name, info.file_size, head, partial(archive.read, info), _stored_at(archive, info))


def _nested(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: _Budget, prefix: str, depth: int
) -> Iterator[File]:
    """The files of a package inside a zip, which is copied out, since a zip is read from its end."""
    name = prefix + info.filename
    if depth == _DEEPEST or info.file_size > LARGEST:
        raise FormatError(f"{name} is nested too deeply, or too large", where=budget.path, hint="give it by itself")
    with tempfile.TemporaryFile() as copy:
        with archive.open(info) as file:
            shutil.copyfileobj(file, copy)
        yield from _zip(copy, budget, f"{name}/", depth + 1)


def _stored_at(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int | None:
    """Where a library that is not compressed begins, for Android maps it from there."""
    if info.compress_type != zipfile.ZIP_STORED or not _LIBRARY.search(info.filename) or archive.fp is None:
        return None
    return content_at(archive.fp, info)


def _package(path: Path) -> Iterator[File]:
    for entry in installer.payload_files(path):
        head = entry.read(HEAD)
        if not is_ignored(entry.path):
            yield File(entry.path, entry.size, head, partial(_with_rest, head, entry))


def _with_rest(head: bytes, entry: installer.PayloadFile) -> bytes:
    return head + entry.read(entry.size - len(head))


@contextmanager
def _complaints(path: Path) -> Iterator[None]:
    """Turn what the libraries say of a damaged container into an error of ours."""
    try:
        yield
    except (
        OSError,
        EOFError,
        LookupError,
        ValueError,
        NotImplementedError,
        RuntimeError,
        struct.error,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
    ) as broken:
        raise FormatError(f"cannot be read, it is damaged or incomplete: {broken}", where=path, hint=_AGAIN) from broken
