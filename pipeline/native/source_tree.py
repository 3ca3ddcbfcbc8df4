"""What is in a checkout of somebody's sources: its files, and one digest of them that is the same on every machine.

For a git checkout that is what git would show: tracked files as they are now and new ones that are not ignored, of it
and of its submodules. What is ignored (a `build/` of yesterday, a `config.cmake` of somebody's own) is neither in the
digest nor in the `mirror` that is built from, so it cannot change a result unseen. `tools.finder` asks for the digest,
the step `runtime` for the files. Nothing in the checkout is ever written.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import SlipwayError, StepError
from pipeline.files import sha256_bytes
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.files.sharing import symlink
from pipeline.process import run

_LOOK_ONLY = {"GIT_OPTIONAL_LOCKS": "0"}
"""git must look, and not refresh its index meanwhile."""

_STATUS = ("--no-renames", "--untracked-files=all", "--ignore-submodules=all")
_SUBMODULE, _LINK, _PROGRAM, _FILE = "160000", "120000", "100755", "100644"
_SHA1_HEX = 40

COPIED = frozenset({"Cargo.lock"})
"""Files that a build tool writes again where it finds them: in a mirror they are copies, all others are links."""


class SourceTree(NamedTuple):
    """A checkout as it was when it was looked at.

    Attributes:
        files: relative path -> [git's mode, git's blob id]; the id of anything that is no git checkout is git's too.
    """

    root: Path
    files: dict[str, tuple[str, str]]

    @property
    def digest(self) -> str:
        """SHA-256 over paths, modes and contents."""
        text = json.dumps(sorted(self.files.items()), ensure_ascii=False, separators=(",", ":"))
        return sha256_bytes(text.encode("utf-8", "surrogatepass"))

    @property
    def version(self) -> str:
        """What enters keys. A commit of what was already there does not change it."""
        return f"{len(self.files)} files {self.digest}"

    @property
    def directories(self) -> tuple[Path, ...]:
        """Every directory that holds one of the files: a new file changes one of them."""
        parents = {self.root.joinpath(path).parent for path in self.files}
        return tuple(sorted({folder for parent in parents for folder in (parent, *_up_to(parent, self.root))}))


def read_tree(root: Path) -> SourceTree:
    """Look at a checkout.

    Raises:
        StepError: there is no such directory.
    """
    root = root.resolve()
    if not root.is_dir():
        raise StepError("there is no such directory", where=root, hint="correct the path of the checkout")
    try:
        return SourceTree(root, dict(_of_git(root, "")))
    except SlipwayError:  # no git on this machine, or this is no checkout of it
        return SourceTree(root, dict(_of_folder(root)))


def mirror(tree: SourceTree, folder: Path) -> None:
    """Make `folder` show exactly the files of the tree, each as a link to the real one, in directories of its own.

    A build that writes beside its sources writes here, and finds nothing here that is not in the digest. Compilers
    look for a file's neighbours where they found the file, so this is a checkout to them. Links that are right stay as
    they are; what a build has added is removed.
    """
    wanted = {folder.joinpath(path): (path, mode) for path, (mode, _) in tree.files.items()}
    for present in list(_below(folder)):
        if present not in wanted:
            present.unlink()
    for link, (path, mode) in wanted.items():
        source = tree.root / path
        link.parent.mkdir(parents=True, exist_ok=True)
        if source.name in COPIED and mode != _LINK:
            link.unlink(missing_ok=True)
            shutil.copyfile(source, link)
            continue
        target = str(source.readlink()) if mode == _LINK else str(source)
        with suppress(OSError):
            if str(link.readlink()) == target:
                continue
        link.unlink(missing_ok=True)
        symlink(target, link)


@contextmanager
def built_by_times(tree: SourceTree, home: Path) -> Iterator[Path]:
    """A folder for a builder that goes by the times of files, emptied where these do not tell of a change.

    `tar` and `rsync` put files there that are older than what was built of others. While the context lasts, nothing
    says what the folder was made of: a build that is killed leaves what looks new.
    """
    folder, seen = home / "build", home / "seen.json"
    known = read_sealed(seen)
    files = None if known is None else json.loads(known)
    if files is None or any(
        files.get(path) != [*about] and (tree.root / path).lstat().st_mtime_ns <= seen.stat().st_mtime_ns
        for path, about in tree.files.items()
    ):
        shutil.rmtree(folder, ignore_errors=True)
    seen.unlink(missing_ok=True)
    try:
        yield folder
    finally:
        write_sealed(seen, json.dumps(tree.files).encode())


def _of_git(root: Path, prefix: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """The files of a checkout and its submodules. `root` may be a directory inside of one."""
    listed: dict[str, tuple[str, str]] = {}
    for line in _git(root, "ls-files", "-z", "-s", "--", "."):
        about, _, path = line.partition("\t")
        mode, blob, _ = about.split(" ")
        listed[path] = (mode, blob)
    if not listed:
        raise StepError("git knows no file here", where=root)
    inside = run(["git", "-C", root, "rev-parse", "--show-prefix"], env=_LOOK_ONLY, apart=True).output[:-1]
    for line in _git(root, "status", "--porcelain", "-z", *_STATUS, "--", "."):
        path = line[3:].removeprefix(inside)
        if not os.path.lexists(root / path):
            listed.pop(path, None)
        elif not (root / path).is_dir() or (root / path).is_symlink():
            known = listed.get(path, (_FILE, "0" * _SHA1_HEX))[1]
            listed[path] = _on_disk(root / path, sha1=len(known) == _SHA1_HEX)
    for path, (mode, blob) in listed.items():
        if mode != _SUBMODULE:
            yield prefix + path, (mode, blob)
        elif (root / path / ".git").exists():
            yield from _of_git(root / path, f"{prefix}{path}/")
        else:  # somebody put a copy in its place, or it was never fetched
            yield from ((f"{prefix}{path}/{name}", about) for name, about in _of_folder(root / path))


def _of_folder(root: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    for path in _below(root, besides=".git"):
        yield path.relative_to(root).as_posix(), _on_disk(path, sha1=True)


def _on_disk(path: Path, *, sha1: bool) -> tuple[str, str]:
    """Mode and blob id of a file, as git would store it."""
    state = path.lstat()
    if stat.S_ISLNK(state.st_mode):
        mode, data = _LINK, os.fsencode(path.readlink())
    else:
        mode, data = _PROGRAM if state.st_mode & 0o100 else _FILE, path.read_bytes()
    hasher = hashlib.sha1(usedforsecurity=False) if sha1 else hashlib.sha256()
    hasher.update(b"blob %d\0" % len(data) + data)
    return mode, hasher.hexdigest()


def _git(root: Path, *words: str) -> list[str]:
    """What a command of git lists with `-z`."""
    return [part for part in run(["git", "-C", root, *words], env=_LOOK_ONLY, apart=True).output.split("\0") if part]


def _below(folder: Path, besides: str = "") -> Iterator[Path]:
    """Everything below a directory that is no directory itself, less what is in directories of one name."""
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != besides)
        links = [name for name in folders if Path(base, name).is_symlink()]
        yield from (Path(base, name) for name in (*names, *links))


def _up_to(folder: Path, root: Path) -> Iterator[Path]:
    while folder != root:
        folder = folder.parent
        yield folder
