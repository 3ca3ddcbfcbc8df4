"""What a kit brings along besides models: the runtime's libraries, or modules for pages that are linked with it.

`kit` reads both here, `xcframework` packs the libraries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import roles
from pipeline.binary.object_info import Format
from pipeline.documents.archive import ArchivedModel
from pipeline.documents.link_json import LinkedModule
from pipeline.documents.runtime import HEADERS, Modules, RuntimeManifest
from pipeline.errors import StepError

FOLDER = "wasm"
"""Where in a kit the modules are."""

_SYSTEM: Mapping[Format, tuple[str, ...]] = {"macho": ("c++",), "elf": ("dl", "m", "pthread", "stdc++")}
_ANDROID = ("c++_static", "c++abi", "dl", "log", "m")
_RUST = "tokenizers_c"
"""The library that brings Rust's standard library along, which on Apple's systems asks for one framework more."""


@dataclass(frozen=True, slots=True)
class RuntimeLibrary:
    """A library of the runtime, for one archive of a kit.

    Attributes:
        whole: whether a link must take every member: it registers things that nothing refers to.
        shared: whether it is loaded with the program, and no archive.
    """

    name: str
    path: str
    whole: bool
    data: bytes
    shared: bool = False

    @property
    def file(self) -> str:
        """Its basename."""
        return self.path.rpartition("/")[2]


def read_runtime(inputs: Mapping[str, Path], backend: str) -> dict[str, RuntimeLibrary]:
    """The runtime of one backend by name, in link order; paths are file names, to be placed by the caller."""
    folder = inputs.get(roles.runtime(backend))
    if folder is None:
        return {}
    return {
        one.name: RuntimeLibrary(one.name, one.file, one.whole, (folder / one.file).read_bytes(), one.shared)
        for one in RuntimeManifest.read(folder).libraries
    }


def check_alike(what: str, runtimes: Mapping[str, Iterable[str]]) -> None:
    """All backends of a slice have the same libraries, and all slices too: an app has one list of them.

    Raises:
        StepError: they do not have the same; `what` is the message.
    """
    every = {name: tuple(libraries) for name, libraries in runtimes.items()}
    if len(set(every.values())) > 1:
        said = "; ".join(f"{name}: {', '.join(names) or 'none'}" for name, names in sorted(every.items()))
        raise StepError(
            f"{what}: {said}",
            hint="give `prebuilt:` archives of the same names for all of these backends, or build all of them",
        )


def system_libraries(libraries: Sequence[RuntimeLibrary], form: Format, platform: str) -> tuple[str, ...]:
    """Libraries of the system that a static runtime is linked with, which is C++ where models are C."""
    if all(one.shared for one in libraries):
        return ()
    return _ANDROID if platform == "android" else _SYSTEM.get(form, ())


def frameworks(libraries: Sequence[RuntimeLibrary], form: Format) -> tuple[str, ...]:
    """Apple frameworks that a runtime is linked with."""
    return ("Security",) if form == "macho" and any(one.name == _RUST for one in libraries) else ()


def headers(inputs: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Role and path of every header of a packaged runtime, each once."""
    seen: set[str] = set()
    for backend, folder in roles.all_of(roles.RUNTIME, inputs):
        for path in sorted((folder / HEADERS).rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and name not in seen:
                seen.add(name)
                yield roles.runtime(backend), name


def check_versions(inputs: Mapping[str, Path], models: Mapping[str, Iterable[ArchivedModel]]) -> None:
    """A packaged runtime is of the TVM that compiled the models beside it, which are those in each backend's archive.

    Raises:
        StepError: it is of another.
    """
    for backend, folder in roles.all_of(roles.RUNTIME, inputs):
        version = RuntimeManifest.read(folder).tvm
        for model in models.get(backend, ()):
            if version is not None and model.tvm not in {None, version}:
                what = (
                    f"{model.subject} was compiled with TVM {model.tvm}, and the runtime for {backend} is of {version}"
                )
                raise StepError(
                    what,
                    hint="let one toolchain compile all models of that backend, or leave the backend out of `runtime`: "
                    "list the others in its `backends`",
                )


def read_modules(inputs: Mapping[str, Path]) -> tuple[LinkedModule, ...]:
    """The modules of all backends, sorted by path."""
    found = [
        LinkedModule(one.subject, backend, f"{FOLDER}/{one.file}", one.size, one.sha256)
        for backend, folder in roles.all_of("wasm", inputs)
        for one in Modules.read(folder).modules
    ]
    return tuple(sorted(found, key=lambda one: one.file))
