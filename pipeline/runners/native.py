"""Runners `native-cpp` and `native-rust`: programs that contain the models, built from a product's kit as users do.

CMake builds one around the kit's package, Cargo one around its crate. They are linked with what the kit brings along,
or with the toolchain's shared runtime where it brings none. A kit for 64-bit ARM gets a cross compiler, and qemu-user.

A program has all models of its archive, and calls them as an app does, by the methods of their classes; `typed_calls`
writes those calls. It is kept, with its copy of the kit, so that the next model finds it built.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import roles
from pipeline.action import Job, present
from pipeline.documents.codec import dumps
from pipeline.documents.link_json import LinkedArchive, LinkJson
from pipeline.errors import StepError
from pipeline.files import sha256_bytes
from pipeline.files.locks import locked
from pipeline.kits.bindings import namespace
from pipeline.kits.escaping import identifier
from pipeline.native.cmake import Build
from pipeline.native.settings import android
from pipeline.process import run as run_program
from pipeline.process import state_of

from . import typed_calls
from .check import Params, runner
from .linked import COMPILER, recent, shared_runtime
from .machine import Launch
from .qemu import emulator

PACKAGE_DATA = "runners/programs"

_PROGRAMS = Path(__file__).parent / "programs"
_UNSEEN: dict[str, str | None] = dict.fromkeys(("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"))
"""A program finds its runtime by how it was linked, and by nothing of the user's."""

_AWKWARD = re.compile(r'[;:"$\\]')
"""CMake and Cargo cannot link files of a folder with one of these in its path; Slipway itself builds there."""

_OR_NOT = "or name only the languages you want in the product's `programs`, in targets.yaml"
_CMAKE = f"install CMake 3.18 or later (pip install cmake), {_OR_NOT}"
_RUST = f"install Rust 1.67 or later (rustup; Debian 13, Ubuntu 24.04: apt-get install cargo), {_OR_NOT}"
NDK = "install Android's NDK (sdkmanager 'ndk;27.2.12479018'), and set ANDROID_NDK_HOME"
_CLASSES = "a models.h, models.hpp or lib.rs of your own must have the classes and methods of ours, or name no model"
_SECONDS = 1800


@runner("native-cpp")
def run_cpp(job: Job[Params], scratch: Path) -> Launch:
    """A program in C++, for this machine or one that qemu stands for."""
    built = build_cpp(job, scratch)
    words = (*built.before, str(built.program), job.params.model.prefix)
    return Launch(command=words, env=_UNSEEN, emulated="qemu-user" if built.before else None)


@dataclass(frozen=True)
class Built:
    """A program in C++, the words before it on this machine, and the shared libraries that it is linked with."""

    program: Path
    before: tuple[str, ...]
    shared: tuple[Path, ...]


def build_cpp(job: Job[Params], scratch: Path) -> Built:
    """The program with all models of a kit, built by CMake for the machine of the backend.

    Raises:
        ToolMissing: this machine cannot build it.
        StepError: it does not compile or link.
    """
    cmake = recent(job.tools.get("cmake"), "CMake", (3, 18), _CMAKE)
    before, settings = _compiler(job)
    kit = LinkJson.read(job.inputs[roles.KIT])
    runtime = _runtime(job, kit)
    calls = typed_calls.in_cpp(kit, job.inputs[roles.KIT])
    settings |= {
        "PRODUCT": kit.product,
        "NAMESPACE": namespace(kit.product) if calls else "",
        "PRODUCT_IDENTIFIER": identifier(kit.product),
        "RUNTIME": ";".join(runtime),
    }

    def build(home: Path) -> None:
        project = Build(cmake.path, home / "program", home / "build", job.log)
        project.configure({**settings, "KIT": str(home / "kit")}, None)
        project.build(["program"])

    given = [settings, *map(state_of, map(Path, runtime))]
    home = _built(job, "native-cpp", scratch, given=given, build=build, written={"calls.inc": calls})
    shipped = [home / "kit" / one.archive for archive in _mine(job, kit) for one in archive.runtime if one.shared]
    return Built(home / "build" / "program", before, (*shipped, *map(Path, runtime)))


def _compiler(job: Job[Params]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The words before a program that is built here, and CMake's settings for its compiler."""
    if job.params.backend.platform == "android":
        present(job.tools.get("ndk"), "there is no Android NDK", NDK)
        return (), android(job.params.backend, job.tools)
    if "qemu-aarch64" in job.tools:
        compiler, before = emulator(job)
        named = {"CMAKE_SYSTEM_NAME": "Linux", "CMAKE_SYSTEM_PROCESSOR": "aarch64"}
        return before, {**named, "CMAKE_CXX_COMPILER": str(compiler.path)}
    compiler = present(job.tools.get("c++"), "there is no C++ compiler", COMPILER)
    return (), {"CMAKE_CXX_COMPILER": str(compiler.path)}


@runner("native-rust")
def run_rust(job: Job[Params], scratch: Path) -> Launch:
    """A program in Rust, for this machine. Cargo downloads nothing: the crate depends on no other."""
    cargo = recent(job.tools.get("cargo"), "Cargo", (1, 67), _RUST)
    compiler = present(job.tools.get("c++"), "there is no C++ compiler", COMPILER)
    kit = LinkJson.read(job.inputs[roles.KIT])
    name = identifier(kit.product)
    settings = {"CXX": str(compiler.path)}
    if runtime := _runtime(job, kit):
        tvm, ffi = runtime
        settings[f"{name.upper()}_TVM_RUNTIME_LIB"] = tvm
        settings[f"{name.upper()}_TVM_FFI_LIB_DIR"] = str(Path(ffi).parent)

    def build(home: Path) -> None:
        manifest = home / "program" / "Cargo.toml"
        text = manifest.read_text(encoding="utf-8").replace("@PACKAGE@", f"slipway-{name}")
        manifest.write_text(text, encoding="utf-8")
        words: list[str | Path] = [cargo.path, "build", "--offline", "--release", "--target-dir", home / "build"]
        run_program(words, log=job.log, cwd=home / "program", env=settings, timeout=_SECONDS)

    given = [settings, *map(state_of, map(Path, runtime))]
    home = _built(
        job,
        "native-rust",
        scratch,
        given=given,
        build=build,
        written={"calls.rs": typed_calls.in_rust(kit, job.inputs[roles.KIT])},
    )
    return Launch(command=(str(home / "build" / "release" / "program"), job.params.model.prefix), env=_UNSEEN)


def _built(
    job: Job[Params],
    name: str,
    scratch: Path,
    *,
    given: Sequence[object],
    build: Callable[[Path], None],
    written: Mapping[str, str],
) -> Path:
    """The folder with the program, made by the first who asks for one of this kit, with these tools and what is given.

    `written` are files beside its sources.

    What a compiler has read besides (headers of the system, or of the user) CMake and Cargo look at by themselves.
    """
    home = job.cache_dir("programs", str(job.params.product), job.params.backend.name, name)
    if _AWKWARD.search(str(home)):
        home = scratch / name
        home.mkdir()
    sources = {path.name: sha256_bytes(path.read_bytes()) for path in sorted(_PROGRAMS.iterdir())}
    kit = {path: job.digest_of(roles.KIT, path).sha256 for path, _ in job.files(roles.KIT)}
    tools = {name: tool.version for name, tool in job.tools.items() if tool is not None}
    wanted = dumps({"given": given, "tools": tools, "sources": sources, "written": written, "kit": kit})
    done = home / "built.json"
    with locked(f"{home}.lock"):
        if not done.is_file() or done.read_text(encoding="utf-8") != wanted:
            shutil.rmtree(home)
            shutil.copytree(_PROGRAMS, home / "program")
            shutil.copytree(job.inputs[roles.KIT], home / "kit")
            for file, text in written.items():
                (home / "program" / file).write_text(text, encoding="utf-8")
        done.unlink(missing_ok=True)  # a build that is killed leaves what looks fresh
        try:
            build(home)
        except StepError as error:
            said = job.log.read_text(encoding="utf-8", errors="replace")
            if not any(f"{file}:" in said for file in written):
                raise
            raise StepError(error.what, hint=_CLASSES, log=error.log) from error
        done.write_text(wanted, encoding="utf-8")
    return home


def _runtime(job: Job[Params], kit: LinkJson) -> tuple[str, ...]:
    """The toolchain's shared runtime; nothing where the kit has one for the backend."""
    if any(archive.runtime for archive in _mine(job, kit)):
        return ()
    return shared_runtime(job, "neither the kit nor the toolchain has a runtime")


def _mine(job: Job[Params], kit: LinkJson) -> list[LinkedArchive]:
    """The archives of a kit for the backend."""
    return [one for one in kit.archives if job.params.backend.name in {backend.name for backend in one.backends}]
