"""Links the objects of models into one shared library, for those who load it instead of linking an archive.

`layout` calls it. Libraries that are found on the device are stood for by stubs with just the symbols that are
asked for, so that no SDK is needed; where Android's NDK is, its own are linked. A symbol that nobody offers is an
error here, and not on the device.

What is linked is found in two ways: by the prefix, as in any link (`system_lib`), and, where it holds one model, by the
path (`load_module`): for that, blob and context are there under the names that they have without a prefix, too.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from pipeline.action import Tool
from pipeline.binary.ar import Member
from pipeline.binary.object_info import ObjectInfo
from pipeline.binary.objects import read_object
from pipeline.binary.symbols import FUNCTION_PREFIX, defined, library_bin, required_symbols, symbol_name, undefined
from pipeline.binary.tbd import BINDER, write_tbd
from pipeline.errors import StepError, ToolMissing
from pipeline.kits import link_flags
from pipeline.matrix.cells import Backend
from pipeline.native.settings import ANDROID_API
from pipeline.platforms import APPLE, ELF_EMULATIONS, architecture
from pipeline.process import run
from pipeline.proofs.links import LINKER_HINTS
from pipeline.proofs.system_symbols import LINKER_SYMBOLS, UNWINDERS, library_of, system_symbols

NDK = "ndk"
FFI, RUNTIME = link_flags.RUNTIME_LIBRARIES
_SYSTEM = {
    "linux": {"c": "libc.so.6", "m": "libm.so.6", "compiler": "libgcc_s.so.1"},
    "android": {"c": "libc.so", "m": "libm.so"},
}
"""Platform -> kind of library -> its name there. Android has no shared library with what compilers invent."""

_LLD, _FIRST_WITH_ALIAS = re.compile(r"LLD (\d+)"), 15
_LIBSYSTEM = "/usr/lib/libSystem.B.dylib"
_NDK_TRIPLES = {
    "arm64": "aarch64-linux-android", "x86_64": "x86_64-linux-android", "armv7": "arm-linux-androideabi",
    "i686": "i686-linux-android",
}  # fmt: skip
_NDK_ARCHITECTURES = {"arm64": "aarch64", "x86_64": "x86_64", "armv7": "arm", "i686": "i686"}


@dataclass(frozen=True)
class Models:
    """What goes into a library.

    Attributes:
        runtime: shared libraries that have the TVM runtime on the device; None for those of TVM's own build.
        by_path: whether it is found by its path, too; it has one model then.
    """

    name: str
    backend: Backend
    prefixes: tuple[str, ...]
    objects: tuple[Member, ...]
    runtime: tuple[str, ...] | None = None
    by_path: bool = False


def tools(backends: Iterable[Backend]) -> tuple[str, ...]:
    """Names of the tools that link for these backends."""
    found = set()
    for backend in backends:
        found |= {"ld64.lld"} if backend.format == "macho" else {"ld.lld"}
        found |= {NDK} if backend.platform == "android" else set()
    return tuple(sorted(found))


def link_shared(models: Models, found: Mapping[str, Tool | None], folder: Path, log: Path) -> bytes:
    """Link a shared library with the tools that were found, and return it. Files are in `folder` meanwhile.

    Raises:
        StepError: a symbol that nobody offers, or the linker refused.
        ToolMissing: there is no linker.
    """
    with tempfile.TemporaryDirectory(prefix="shared-", dir=folder) as name:
        scratch = Path(name)
        backend, out = models.backend, scratch / models.name
        infos = [read_object(member.data, member.name) for member in models.objects]
        paths = []
        for number, member in enumerate(models.objects):
            paths.append(scratch / f"{number}.o")
            paths[-1].write_bytes(member.data)
        aliases, functions = _by_path(models.prefixes[0], infos) if models.by_path else ({}, set())
        blobs = {library_bin(one) for one in models.prefixes}
        exported = sorted(blobs | aliases.keys() | functions)
        providers = providers_of(undefined(infos, weak=False) - LINKER_SYMBOLS - UNWINDERS, backend, models.runtime)
        linker = _linker(backend, found)
        # Without -S a library for Apple names the files that it was linked from, see quirk MACHO-17.
        words = [
            linker,
            "-S",
            *_frame(models, scratch, exported, aliases),
            *link_flags.keep(models.prefixes, backend.format),
        ]
        words += [*paths, *_libraries(models, providers, found, scratch, log), "-o", link_flags.output(out)]
        run(words, log=log)
        return out.read_bytes()


def providers_of(names: Iterable[str], backend: Backend, runtime: Sequence[str] | None) -> dict[str, list[str]]:
    """The shared libraries that are loaded with a model -> C names that each must offer; none for `compiler`.

    Raises:
        StepError: a name that no library is known to have.
    """
    apple = backend.format == "macho"
    pattern = "@rpath/lib{}.dylib" if apple else "lib{}.so"
    needed: dict[str, list[str]] = {pattern.format(name): [] for name in runtime or ()}
    if apple:  # every image has it loaded
        needed[_LIBSYSTEM] = []
    for name in sorted(names):
        kind = library_of(name, backend.platform) if not apple else "c" * (name in system_symbols(backend.platform))
        if name.startswith("TVM"):
            of_name = runtime[0] if runtime else FFI if name.startswith("TVMFFI") else RUNTIME
            library = pattern.format(of_name)
        elif not kind:
            raise StepError(
                f"backend {backend.name}: the models ask for {name}, which neither the TVM runtime nor "
                f"{backend.platform} is known to have",
                hint="let the library's path end in .tar or .a, and link it into the app with what has this symbol",
            )
        else:
            library = _LIBSYSTEM if apple else _SYSTEM[backend.platform].get(kind, kind)
        needed.setdefault(library, []).append(name)
    return needed


def _by_path(prefix: str, infos: Sequence[ObjectInfo]) -> tuple[dict[str, str], set[str]]:
    """What a loader asks a library for: names without a prefix -> C names of the same, and the functions.

    Functions have the prefix also where the library is found by its path.
    """
    names = defined(infos)
    aliases = {name.removeprefix(prefix): name for name in required_symbols(prefix) if name in names}
    return aliases, {name for name in names if name.startswith(FUNCTION_PREFIX + prefix)}


def _linker(backend: Backend, found: Mapping[str, Tool | None]) -> Path:
    name = "ld64.lld" if backend.format == "macho" else "ld.lld"
    if backend.platform == "android" and (ndk := found.get(NDK)) is not None:
        return _in_ndk(ndk, f"bin/{name}")
    tool = found.get(name)
    if tool is None or (name == "ld.lld" and "LLD" not in tool.version):
        what = f"the shared library for backend {backend.name} is linked by {name}, and there is none"
        raise ToolMissing(what, hint=f"{LINKER_HINTS[name]}; or let the library's path end in .tar or .a")
    version = _LLD.search(tool.version)
    if backend.format == "macho" and version is not None and int(version[1]) < _FIRST_WITH_ALIAS:
        what = f"the library for backend {backend.name} takes ld64.lld {_FIRST_WITH_ALIAS}, and this is {version[1]}"
        raise ToolMissing(
            what, where=tool.path, hint="install a newer lld, or let the library's path end in .tar or .a"
        )
    return tool.path


def _frame(models: Models, scratch: Path, exported: Sequence[str], aliases: Mapping[str, str]) -> list[str | Path]:
    """The command line but for objects and libraries."""
    backend, exports = models.backend, scratch / "exports"
    if backend.format == "macho":
        exports.write_text("".join(f"{symbol_name(name, 'macho')}\n" for name in exported), encoding="utf-8")
        lowest = backend.deployment_target or "0"
        where = ["-arch", backend.arch, "-platform_version", APPLE[backend.platform].linker, lowest, lowest]
        words = ["-dylib", *where, "-dead_strip", "-install_name", f"@rpath/{models.name}"]
        for alias, name in aliases.items():
            words += ["-alias", symbol_name(name, "macho"), symbol_name(alias, "macho")]
        return [*words, "-exported_symbols_list", exports]
    exports.write_text(link_flags.version_script((), exported), encoding="utf-8")
    arch = architecture(backend.arch)
    pages = ["-z", f"max-page-size={link_flags.ANDROID_PAGE_SIZE}"] if arch in link_flags.PAGED else []
    names = {**aliases, **dict.fromkeys(UNWINDERS if arch == "armv7" else (), "0")}
    defined = [f"--defsym={alias}={name}" for alias, name in sorted(names.items())]
    start = ["-shared", "-m", ELF_EMULATIONS[arch], "--gc-sections", "--as-needed", "--build-id=sha1", "-z", "defs"]
    return [*start, *pages, "-soname", models.name, f"--version-script={exports}", *defined]


def _libraries(
    models: Models, needed: Mapping[str, Sequence[str]], found: Mapping[str, Tool | None], scratch: Path, log: Path
) -> list[str | Path]:
    """What stands for the libraries of the device."""
    backend, words = models.backend, list[str | Path]()
    ndk = found.get(NDK) if backend.platform == "android" else None
    if ndk is not None:
        api = _in_ndk(ndk, f"sysroot/usr/lib/{_NDK_TRIPLES[backend.arch]}/{ANDROID_API}/libc.so").parent
        builtins = f"lib*/clang/*/lib/linux/libclang_rt.builtins-{_NDK_ARCHITECTURES[backend.arch]}-android.a"
        words = [api / "libc.so", api / "libm.so", _in_ndk(ndk, builtins)]
    elif called := needed.get("compiler"):
        raise ToolMissing(
            f"backend {backend.name}: the models call {', '.join(called)}, which the NDK's compiler brings",
            hint="install the NDK and set ANDROID_NDK_HOME, or let the library's path end in .tar or .a",
        )
    given = [*_SYSTEM[backend.platform].values(), "compiler"] if ndk is not None else []
    for number, (library, names) in enumerate(sorted(needed.items())):
        if library in given:
            continue
        stub = scratch / f"stub{number}{PurePath(library).suffix}"
        if backend.format == "macho":
            stub = stub.with_suffix(".tbd")
            offered = [*names, BINDER] if library == _LIBSYSTEM else names
            stub.write_text(write_tbd(backend.arch, backend.platform, offered, library), encoding="utf-8")
            words.append(stub)
        else:
            emulation = ELF_EMULATIONS[architecture(backend.arch)]
            start: list[str | Path] = [_linker(backend, found), "-shared", "-m", emulation, "-soname", library]
            _write_stub(stub, start, names, log)
            asked = library.removeprefix("lib").removesuffix(".so") in (models.runtime or ())
            words += ["--no-as-needed", stub, "--as-needed"] if asked else [stub]
    return words


def _write_stub(stub: Path, start: Sequence[str | Path], names: Iterable[str], log: Path) -> None:
    """Write an ELF library that defines these names and holds nothing, see quirk ELF-11."""
    nothing = stub.with_suffix(".empty")
    nothing.touch()
    symbols = [f"--defsym={one}=0" for one in names]
    run([*start, "-b", "binary", nothing, "-b", "default", *symbols, "-o", link_flags.output(stub)], log=log)


def _in_ndk(ndk: Tool, pattern: str) -> Path:
    """A file of the NDK's compiler, which is for the machine that we are on."""
    found = sorted(ndk.path.glob(f"toolchains/llvm/prebuilt/*/{pattern}"))
    if not found:
        hint = "install it anew (sdkmanager 'ndk;27.2.12479018'), and let ANDROID_NDK_HOME name its directory"
        raise ToolMissing(f"the NDK has no {pattern}", where=ndk.path, hint=hint)
    return found[-1]
