"""Taking files out of a zip or tar that somebody else made, so that nothing can land outside the given directory.

Only plain files are ever written, with plain permissions, at paths that were checked first; links, devices, absolute
paths, `..`, duplicates and size bombs are refused by name. Called by the `package` and `url` sources.
"""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, cast

from pipeline.errors import DownloadError
from pipeline.files import Digest, copy_hashed
from pipeline.files.names import unsafe_path

SUFFIXES = (".zip", ".whl", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""Names that mean an archive this module can read."""

_HINT = "do not use this archive: ask its publisher, or name only the files you need with `files` in targets.yaml"
_MEMBERS = 100_000
_ALWAYS_FINE = 1 << 30
_RATIO = 200
"""An archive may unpack to 1 GiB, or to 200 times its size: weights shrink by a few percent, bombs a thousandfold."""

_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, OSError)
"""What the readers raise for an archive that is none, or is damaged."""

Choose = Callable[[list[str]], Mapping[str, str]]
"""Given the names of all files in an archive: the wanted ones -> path below the directory to extract to."""


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    size: int
    kind: str
    """`file`, `directory`, or what else it is, in words."""
    open: Callable[[], IO[bytes] | None]


def _in_zip(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir():
            what = "directory"
        elif kind in {0, stat.S_IFREG}:
            what = "an encrypted file" if info.flag_bits & 1 else "file"
        else:
            what = "a symbolic link" if kind == stat.S_IFLNK else "a special file"
        yield _Member(info.orig_filename, info.file_size, what, partial(archive.open, info))


def _in_tar(archive: tarfile.TarFile) -> Iterator[_Member]:
    for info in archive:
        if info.isdir():
            what = "directory"
        elif info.isreg():
            what = "file"
        else:
            what = "a link" if info.issym() or info.islnk() else "a special file"
        yield _Member(info.name.removeprefix("./"), info.size, what, partial(archive.extractfile, info))


def is_archive(name: str) -> bool:
    """Whether a file name promises an archive this module can read."""
    return name.lower().endswith(SUFFIXES)


def extract(archive: Path, into: Path, choose: Choose, *, where: str) -> dict[str, Digest]:
    """Extract the chosen files of a zip (or wheel) or tar, told apart by content, into an empty directory.

    Returns:
        path below `into` -> digest of the file that is there now.

    Raises:
        DownloadError: not an archive, damaged, or with members that must not be trusted. Files already extracted
            may remain in `into`.
    """
    with _opened(archive, where) as opened:
        members = _surveyed(opened, archive.stat().st_size, where)
        chosen = choose([name for name, member in members.items() if member.kind == "file"])
        _refuse_special(members, chosen, where)
        extracted: dict[str, Digest] = {}
        for name in (name for name in members if name in chosen):  # in archive order: a tar is not read twice
            path = chosen[name]
            problem = unsafe_path(name) or unsafe_path(path)
            if problem:
                raise DownloadError(f"the member {name!r} {problem}", where=where, hint=_HINT)
            if path in extracted:
                raise DownloadError(f"two members would become {path!r}", where=where, hint=_HINT)
            target = into / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with cast("BinaryIO", members[name].open()) as source, target.open("xb") as file:
                extracted[path] = copy_hashed(source, file)
    return extracted


def _surveyed(members: Iterable[_Member], packed: int, where: str) -> dict[str, _Member]:
    """Members by name, after a look at their number and declared sizes (both formats stop reading at those)."""
    limit, total = max(_ALWAYS_FINE, _RATIO * packed), 0
    found: dict[str, _Member] = {}
    for member in members:
        total += member.size
        if total > limit or len(found) >= _MEMBERS:
            raise DownloadError(
                f"unpacks to more than {limit} bytes or {_MEMBERS} members, out of {packed} bytes: a bomb",
                where=where,
                hint=_HINT,
            )
        if member.kind == "directory":
            continue
        if member.name in found:
            raise DownloadError(f"has two members named {member.name!r}", where=where, hint=_HINT)
        found[member.name] = member
    return found


def _refuse_special(members: Mapping[str, _Member], chosen: Mapping[str, str], where: str) -> None:
    """A link next to chosen files is probably one of them to its author: leaving it out silently would be wrong."""
    files = [name for name, member in members.items() if member.kind == "file"]
    everything = len(chosen) == len(files)
    folders = {name.rpartition("/")[0] for name in chosen}
    for name, member in members.items():
        if member.kind != "file" and (everything or name.rpartition("/")[0] in folders):
            raise DownloadError(f"the member {name!r} is {member.kind}, not a plain file", where=where, hint=_HINT)


@contextmanager
def _opened(archive: Path, where: str) -> Iterator[Iterable[_Member]]:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                yield _in_zip(opened)
        else:
            with tarfile.open(archive) as opened_tar:
                yield _in_tar(opened_tar)
    except _DAMAGE as problem:
        if isinstance(problem, OSError) and problem.errno is not None:
            raise  # the disk's complaint; those of gzip and bz2 have no number
        raise DownloadError(
            f"is not a zip or tar archive, or is damaged: {str(problem).partition(':')[0]}",
            where=where,
            hint="check the URL; an error page of a server also ends up here",
        ) from problem
