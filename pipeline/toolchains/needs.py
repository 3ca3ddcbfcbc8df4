"""What the actions of a matrix cannot be run without, besides Python: compilers and SDKs that this machine lacks.

`doit doctor` reads it, before a build does its part and fails at the first of them. Linkers are among them for shared
libraries alone: what cannot be linked for a proof is not proven, and made all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pipeline.action import AnyAction, Tool

_STEPS = {
    "runtime": "the runtime of",
    "wasm_runtime": "the modules of",
    "compile": "the metallibs of",
    "layout": "the shared libraries of",
    "aar": "the shared libraries of",
}
"""Steps that fail without their tools, and what they make of a backend or a product."""

_LINKED = frozenset({"layout", "aar"})
"""Steps that take the NDK's linker where there is one, and do without it."""

_MAC = "or give archives that a Mac has built: `prebuilt:` in `runtime`"
_CPP = "apt-get install g++, or what it is called here"
_CROSS = "apt-get install g++-aarch64-linux-gnu, or give `prebuilt:` archives"

_TOOLS = {
    "metal": (
        "Apple's Metal compiler",
        "build on a Mac (xcodebuild -downloadComponent MetalToolchain), or ship `kernels: source`",
    ),
    "sdk": ("Xcode", f"build on a Mac with Xcode, {_MAC}"),
    "ndk": ("Android's NDK", "install it with sdkmanager and set ANDROID_NDK_HOME, or give `prebuilt:` archives"),
    "emcc": ("Emscripten", "install emsdk, source emsdk_env.sh"),
    "cmake": ("CMake", "pip install cmake"),
    "cargo": ("Cargo, for mlc_llm's tokenizers", "install Rust: https://rustup.rs"),
    "ld.lld": ("LLD, the linker for ELF", "apt-get install lld"),
    "ld64.lld": ("LLD, the linker for Mach-O", "apt-get install lld"),
    "cc": ("a C compiler", _CPP),
    "c++": ("a C++ compiler", _CPP),
    "aarch64-cc": ("a C compiler for aarch64", _CROSS),
    "aarch64-c++": ("a C++ compiler for aarch64", _CROSS),
}
"""Tool, without an SDK's name -> what people call it, and how to get it."""


@dataclass(frozen=True, slots=True)
class Need:
    """A tool that is missing.

    Attributes:
        made: what cannot be made, e.g. `the runtime of`.
        backends: for which.
        tool: what people call it.
        hint: how to get it, or to do without.
    """

    made: str
    backends: tuple[str, ...]
    tool: str
    hint: str


def missing(actions: Iterable[AnyAction], find: Callable[[str], Tool | None], *, rust: bool = False) -> list[Need]:
    """What is not here and has to be, each tool once.

    Args:
        actions: of the whole plan.
        find: see `engine.tools.Finder`.
        rust: whether the runtime is built from a checkout with parts in Rust, which no action names.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for action in actions:
        for name in _needed(action, rust=rust):
            if find(name) is None:
                made = _STEPS.get(action.step) or f"the step {action.step} for"
                backends = found.setdefault((made, name if action.runs_command else name.partition(":")[0]), [])
                params = action.params  # what serves several backends names none
                backend = str(params.backend.name) if hasattr(params, "backend") else action.subject
                if backend not in backends:
                    backends.append(backend)
    return [Need(made, tuple(backends), *_told(name)) for (made, name), backends in found.items()]


def _told(name: str) -> tuple[str, str]:
    return _TOOLS.get(name) or (name.partition(":")[2], "install it, or put it on PATH")


def _needed(action: AnyAction, *, rust: bool) -> Iterator[str]:
    if action.runs_command:
        yield from action.tools
    if action.step not in _STEPS or getattr(action.params, "wheel", None) is not None:
        return  # from a package there are no modules where emscripten is missing, and that is said
    spared = "ndk" if action.step in _LINKED else None
    yield from (name for name in action.tools if name.partition(":")[0] in _TOOLS and name != spared)
    if rust and action.step == "runtime" and action.params.prebuilt is None:
        yield "cargo"
