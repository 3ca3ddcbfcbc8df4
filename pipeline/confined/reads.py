"""Which files a program read, as strace tells: `doit --trace-reads` names those that no key knows.

The step `custom` asks. Linux only, as strace is.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

STRACE = "strace"

_CALLS = "trace=?open,openat,?openat2,execve,?execveat,chdir,fchdir"
"""What reads a file by its name, and what names are relative to; a question mark stands before what some processors'
kernels lack."""

_OPENED = re.compile(r'^open(?:at2?)?\(.*?"(?:[^"\\]|\\.)*", (.*) = \d+<(.*)>$')
"""Its groups are the flags and the path; that of the next is the path."""
_STARTED = re.compile(r'^execve(?:at)?\((?:[^"]*, )?"((?:[^"\\]|\\.)*)".* = 0$')
_MOVED = re.compile(r'^f?chdir\((?:"((?:[^"\\]|\\.)*)"|\d+<(.*)>)\) += 0$')
_MOST_FOLDERS = 200
_NO_READ = ("O_WRONLY", "O_DIRECTORY", "O_PATH")

SYSTEM = (
    "/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc", "/opt", "/proc", "/sys", "/dev", "/run", "/var/lib",
    "/var/cache",
)  # fmt: skip
"""Where the system keeps its programs and what belongs to them. (`/usr/local` is in there.)"""


@dataclass(frozen=True)
class Reads:
    """What a program, and all it started, read: files by whole paths, links followed; and programs as called."""

    files: frozenset[str]
    programs: frozenset[str]


def prefix(strace: Path, traces: Path) -> list[str]:
    """The words before a command that have strace write what it reads: a file for each process."""
    return [str(strace), "-ff", "-qq", "-y", "-e", "signal=none", "-e", _CALLS, "-o", str(traces / "trace"), "--"]


def read_traces(traces: Path, cwd: Path) -> Reads:
    """What strace wrote down of a program that began in `cwd`."""
    files: set[str] = set()
    started_as: set[str] = set()
    folders = {cwd}
    for line in _lines(traces):
        if opened := _OPENED.match(line):
            flags, path = opened[1], _unescaped(opened[2])
            if path.startswith("/") and not any(flag in flags for flag in _NO_READ):
                files.add(path)
        elif started := _STARTED.match(line):
            started_as.add(_unescaped(started[1]))
        elif (moved := _MOVED.match(line)) and len(folders) < _MOST_FOLDERS:
            places = {Path(os.path.normpath(folder / _unescaped(moved[1] or moved[2]))) for folder in folders}
            folders |= {place for place in places if place.is_dir()}
    programs = (place for name in started_as for place in _places(name, folders, cwd))
    return Reads(frozenset(files), frozenset(programs))


def _places(name: str, folders: Iterable[Path], cwd: Path) -> set[str]:
    """What a program may be that was called by this name in one of the folders that somebody was in."""
    there = {os.path.normpath(folder / name) for folder in folders if (folder / name).is_file()}
    return there or {os.path.normpath(cwd / name)}


def undeclared(reads: Reads, *, declared: Iterable[str], program: str, kept_out: Sequence[Path]) -> list[str]:
    """The files that no key knows, sorted: those outside of what was declared, of the program and of the system.

    In what is declared links are followed. Where the command's own program is installed, its libraries are; no part of
    `kept_out`, the user's directory and the project's, counts as an installation.
    """
    known = [*SYSTEM, *declared, *_installation(program, kept_out)]
    started = sorted(path for path in reads.programs if not _is_below(path, known))
    # A program that was not declared is named itself, and not with all of its libraries.
    quiet = [*known, *(place for path in started for place in _installation(path, kept_out))]
    read = (path for path in reads.files if not _is_below(path, quiet) and not Path(path).is_dir())
    return sorted({*started, *read})


def _lines(traces: Path) -> Iterator[str]:
    for file in sorted(traces.iterdir()):
        with file.open(encoding="utf-8", errors="surrogateescape") as lines:
            yield from (line.rstrip("\n") for line in lines)


def _unescaped(text: str) -> str:
    """A path as strace writes it: with escapes of C."""
    if "\\" not in text:
        return text
    return os.fsdecode(codecs.escape_decode(os.fsencode(text))[0])


def _installation(program: str, kept_out: Sequence[Path]) -> Iterator[str]:
    """The program and the directory that it was installed into, as it is called and with links followed."""
    for path in dict.fromkeys((program, os.path.realpath(program))):
        yield path
        folder = Path(path).parent
        home = folder.parent
        if folder.name == "bin" and not any(home == one or home in one.parents for one in kept_out):
            yield str(home)


def _is_below(path: str, places: Iterable[str]) -> bool:
    real = os.path.realpath(path)
    return any(one == place or one.startswith(f"{place}/") for place in places for one in (path, real))
