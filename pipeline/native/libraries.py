"""Which libraries of a TVM or mlc_llm checkout an app links, and which targets of CMake make them.

TVM moves things: what was one library is three in the next release, and a part that is only built as a shared library
is of no use in an app. So a library is described by what it may be made of, and the project is asked what it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import StepError

from .cmake import Target

REGISTERING = frozenset(
    {"tvm_runtime", "tvm_ffi", "tvm_ffi_static", "tvm_runtime_extra", "tvm_runtime_metal", "tvm_runtime_opencl",
     "tvm_runtime_vulkan", "mlc_llm", "mlc_wasm_runtime"}
)  # fmt: skip
"""Libraries whose constructors register functions and loaders that nothing refers to: a link must take all of them, or
loading a model ends in "a loader of that name is not registered"."""

_TVM = ("tvm_runtime", "tvm_ffi_static", "tvm_ffi", "tvm_runtime_extra")
_MLC = ("mlc_llm_static", "tokenizers_cpp", "sentencepiece-static")
_OF_DEVICE = {"metal": "tvm_runtime_metal", "opencl": "tvm_runtime_opencl", "vulkan": "tvm_runtime_vulkan"}
_PROJECTS = {"tvm": _TVM, "mlc_llm": (*_TVM, *_MLC)}
_NEEDED = {"tvm": ("tvm_runtime",), "mlc_llm": ("tvm_runtime", *_MLC)}
_NAMES = {"mlc_llm_static": "mlc_llm", "sentencepiece-static": "sentencepiece"}
_BY_RUST = {"mlc_llm": "tokenizers_c"}
"""Project -> the archive that cargo, not CMake, makes on the way."""

SHARED = frozenset({"SHARED_LIBRARY", "MODULE_LIBRARY"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """A library to collect, `lib<name>.a`: the archive that a target of CMake makes, or objects to put into one."""

    name: str
    targets: tuple[str, ...]
    archive: Path | None = None
    objects: tuple[Path, ...] = ()


def wanted(
    project: str, targets: Mapping[str, Target], *, device: str, asked: Iterable[str], folder: Path
) -> tuple[Wanted, ...]:
    """The libraries of a configured project, which CMake calls `project`; `asked` are targets that targets.yaml names.

    Raises:
        StepError: the project is neither TVM nor mlc_llm, or lacks what an app cannot do without.
    """
    names = tuple(asked)
    needed = names or _NEEDED.get(project, ())
    if not names:
        if project not in _PROJECTS:
            raise StepError(
                f"the checkout's project is called {project}, which is neither TVM nor mlc_llm",
                hint="name the CMake targets of its static libraries: `libraries:` in `runtime` of targets.yaml",
            )
        names = (*_PROJECTS[project], *([_OF_DEVICE[device]] if device in _OF_DEVICE else []))
    lacking = [name for name in needed if name not in targets]
    if lacking:
        raise StepError(
            f"the project {project} has no target {', '.join(lacking)}",
            hint="check out a release whose CMakeLists.txt has it, with submodules (git submodule update --init "
            f"--recursive); it has: {', '.join(sorted(targets))}",
        )
    found = [_library(targets[name], targets) for name in names if name in targets]
    made = [library for library in found if library is not None]
    # An older TVM has one target for both kinds of libtvm_ffi; a newer one calls the archive libtvm_ffi_static.a.
    if {"tvm_ffi", "tvm_ffi_static"} <= {library.name for library in made}:
        made = [library for library in made if library.name != "tvm_ffi"]
    if not asked and project in _BY_RUST:
        name = _BY_RUST[project]
        made.append(Wanted(name, (), archive=folder / "tokenizers" / f"lib{name}.a"))
    return tuple(made)


def _library(target: Target, targets: Mapping[str, Target]) -> Wanted | None:
    name = _NAMES.get(target.name, target.name)
    if target.type == "STATIC_LIBRARY":
        return Wanted(name, (target.name,), archive=target.artifacts[0])
    if target.type == "OBJECT_LIBRARY":
        return Wanted(name, (target.name,), objects=target.artifacts)
    if target.type in SHARED:
        parts = [targets[other] for other in target.dependencies if targets[other].type == "OBJECT_LIBRARY"]
        objects = tuple(file for part in parts for file in part.artifacts)
        return Wanted(name, tuple(part.name for part in parts), objects=objects) if objects else None
    return None
