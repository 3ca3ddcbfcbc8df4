"""Link an archive as an app would, and once more as an app that forgot the flags would.

Called by `constructors`, `host` and `kits`: the command lines of the linkers, and which one this machine has for a
backend.

The Mach-O links need no SDK: a text stub (`.tbd`) stands for the system and the runtime. It is strict: a linker that
is told to look undefined symbols up at run time would also accept an `-u` or an exported name that is not there. For
Windows an object stands for both, which defines every name.
"""

from __future__ import annotations

import platform as machine
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.action import Tool
from pipeline.binary.coff_edit import stub_object
from pipeline.binary.tbd import BINDER, write_tbd
from pipeline.kits import link_flags
from pipeline.matrix.cells import Backend
from pipeline.platforms import APPLE, COFF_MACHINES, ELF_EMULATIONS, architecture
from pipeline.process import run

_LLD = "install lld (Debian, Ubuntu: apt-get install lld; Fedora: dnf install lld; macOS: {})"

LINKER_HINTS = {
    "ld64.lld": _LLD.format("brew install lld, or xcode-select --install"),
    "ld.lld": _LLD.format("brew install lld"),
    "wasm-ld": _LLD.format("brew install lld"),
    "lld-link": _LLD.format("brew install lld"),
    "cc": "install a C compiler (Debian, Ubuntu: apt-get install gcc; Fedora: dnf install gcc), or lld",
}


@dataclass(frozen=True, slots=True)
class Linker:
    """A program that links for one backend. `driver` says it is a compiler, which wants `-Xlinker` before each word."""

    tool: Tool
    driver: bool = False

    def words(self, flags: Iterable[str]) -> list[str]:
        """The flags in the form this program takes them."""
        return [word for flag in flags for word in (("-Xlinker", flag) if self.driver else (flag,))]


def is_native(backend: Backend) -> bool:
    """Whether what is linked for this backend can be loaded by this machine."""
    here = {"linux": "linux", "darwin": "macos"}.get(sys.platform)
    return backend.platform == here and backend.arch == architecture(machine.machine())


def wanted_linkers(backend: Backend) -> tuple[str, ...]:
    """Names of the tools that can link for a backend, the best first."""
    if backend.format == "wasm":
        return ("wasm-ld",)
    if backend.format == "coff":
        return ("lld-link",)
    if backend.format == "macho":
        return ("ld64.lld", "cc") if is_native(backend) else ("ld64.lld",)
    return ("cc", "ld.lld") if is_native(backend) else ("ld.lld",)


def linker_for(backend: Backend, tools: Mapping[str, Tool | None]) -> Linker | None:
    """The best linker at hand, or None."""
    for name in wanted_linkers(backend):
        if (tool := tools.get(name)) and (is_native(backend) or not _native_only(tool)):
            return Linker(tool, driver=name == "cc")
    return None


def _native_only(tool: Tool) -> bool:
    """Whether this is the system's own `ld` under the name of `ld.lld`: on Linux it links for one processor only."""
    return tool.name == "ld.lld" and "LLD" not in tool.version


def missing_linker(backend: Backend) -> tuple[str, str]:
    """What to say, and the hint, where `linker_for` found none."""
    names = wanted_linkers(backend)
    return f"no {' or '.join(names)} found", LINKER_HINTS[names[0]]


@dataclass(frozen=True, slots=True)
class Flags:
    """What decides whether the models live.

    Attributes:
        words: for the linker: the archive, how it is taken, and what must be kept of it.
        exports: text of the exported-symbols list (Mach-O) or version script (ELF) to link with; None where `words`
            name such a file already, or none is wanted.
    """

    words: tuple[str, ...]
    exports: str | None = None


def full_flags(backend: Backend, archive: Path, prefixes: Sequence[str]) -> Flags:
    """The flags that the kits give to users."""
    exports = None
    if backend.format == "macho":
        exports = link_flags.exported_symbols_list(prefixes)
    elif backend.format == "elf":
        exports = link_flags.version_script(prefixes)
    keep, pages = link_flags.keep(prefixes, backend.format), link_flags.page_size(backend.platform)
    return Flags((*keep, *link_flags.force_load(str(archive), backend.format), *pages), exports)


def no_flags(archive: Path) -> Flags:
    """The archive alone: what a project has before it reads our documentation."""
    return Flags((str(archive),))


def link(
    linker: Linker,
    backend: Backend,
    flags: Flags,
    out: Path,
    *,
    offered: Iterable[str],
    log: Path,
    cwd: Path | None = None,
) -> Path:
    """Link a shared library (a module, for wasm) with dead code removed.

    Helper files are written beside it, with its name and another ending. `offered` are C names that the system and the
    runtime provide (Mach-O and COFF; the others leave them open). Relative paths in the flags begin in `cwd`.

    Raises:
        StepError: the linker refused; the message carries its last lines.
    """
    cwd = out.parent if cwd is None and "%" in str(out) else cwd  # to say nothing of the folders above, quirk ELF-14
    exports: list[str] = []
    if flags.exports is not None:
        file = out.with_suffix(".exports")
        file.write_text(flags.exports, encoding="utf-8")
        exports = ["-exported_symbols_list", str(file)] if backend.format == "macho" else [f"--version-script={file}"]
    run(
        [linker.tool.path, *_frame(linker, backend, out, offered, cwd), *linker.words([*exports, *flags.words])],
        log=log,
        cwd=cwd,
    )
    return out


def _frame(linker: Linker, backend: Backend, out: Path, offered: Iterable[str], cwd: Path | None) -> list[str]:
    """Everything on the command line that has nothing to do with keeping models alive."""
    made = link_flags.output(out, cwd)
    if backend.format == "macho":
        stub = out.with_suffix(".tbd")
        names, system = [*offered, BINDER], "/usr/lib/libSystem.B.dylib"
        stub.write_text(write_tbd(backend.arch, backend.platform, names, system), encoding="utf-8")
        version = backend.deployment_target or "0"
        where = ["-arch", backend.arch, "-platform_version", APPLE[backend.platform].linker, version, version]
        if linker.driver:  # Apple's compiler, for the Mac it runs on
            where = ["-arch", backend.arch, f"-mmacosx-version-min={version}"]
        start = ["-dynamiclib" if linker.driver else "-dylib", *where, *linker.words(["-dead_strip"])]
        return [*start, str(stub), "-o", made]
    if backend.format == "wasm":
        return ["--no-entry", "--export=__wasm_call_ctors", "--allow-undefined", "-o", made]
    if backend.format == "coff":
        library = out.with_suffix(".obj")
        library.write_bytes(stub_object(backend.arch, offered))
        # Without the C runtime, all that is in the section .CRT is ours, and nothing merges it into another.
        where = ["/NOLOGO", "/DLL", "/NOENTRY", "/NODEFAULTLIB", f"/MACHINE:{COFF_MACHINES[backend.arch]}", "/OPT:REF"]
        return [*where, f"/OUT:{made}", str(library)]
    if linker.driver:
        # Without the start files of the C library, every constructor in the result is one of ours.
        start = ["-shared", "-nostartfiles"]
    else:
        emulation = ELF_EMULATIONS.get(backend.arch)
        start = ["-shared", *(["-m", emulation] if emulation else [])]
    return [*start, *linker.words(["--gc-sections"]), "-o", made]
