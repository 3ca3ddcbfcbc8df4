"""What a machine lacks besides Python: what a matrix cannot be built without, and what is lost without the rest.

`doit doctor` reads it, before a build does its part and fails at the first of them. Linkers are needed for shared
libraries alone: what cannot be linked for a proof is not proven, and made all the same. What `HELPS` lists is optional:
without it something is not proven, or not made, and that is said at the time; this table says it before.
"""

from __future__ import annotations

import sys
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
    """A tool that is missing; `made` is what cannot be made, e.g. `the runtime of`."""

    made: str
    backends: tuple[str, ...]
    tool: str
    hint: str


def missing(actions: Iterable[AnyAction], find: Callable[[str], Tool | None], *, rust: bool = False) -> list[Need]:
    """What the whole plan needs and is not here, each tool once.

    `rust` tells whether the runtime is built from a checkout with parts in Rust, which no action names.
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


@dataclass(frozen=True, slots=True)
class Help:
    """Something that a machine may have, by its name in keys, and what is lost without it.

    `only` is the `sys.platform` where it can be had at all; None for anywhere.
    """

    name: str
    title: str
    cost: str
    hint: str
    only: str | None = None


_LLD = "apt-get install lld; macOS: brew install lld"

HELPS = (
    Help("cc", "C compiler", "models are not run on this machine, so no numbers are compared", "apt-get install gcc"),
    Help(
        "ld64.lld",
        "linker for Apple",
        "links of Apple archives are not proven",
        "apt-get install lld; macOS: brew install lld, or install Xcode",
    ),
    Help("ld.lld", "linker for ELF", "links of Android and Linux archives are not proven", _LLD),
    Help("wasm-ld", "linker for wasm", "links of web archives are not proven", _LLD),
    Help(
        "xcodebuild",
        "Xcode",
        "Apple runtimes are not built; models and xcframeworks need no Xcode",
        "install Xcode, then: xcode-select --switch /Applications/Xcode.app",
        only="darwin",
    ),
    Help(
        "metal:iphoneos",
        "Metal toolchain",
        "kernels are shipped as source and compiled on the device; `kernels: metallib` cannot be had",
        "xcodebuild -downloadComponent MetalToolchain",
        only="darwin",
    ),
    Help(
        "ndk",
        "Android NDK",
        "Android runtimes are not built; models need no NDK",
        "install it with sdkmanager, and set ANDROID_NDK_HOME",
    ),
    Help("adb", "adb", "nothing is deployed to Android devices", "apt-get install adb, or Android's platform-tools"),
    Help(
        "emcc",
        "Emscripten",
        "web runtimes and complete wasm modules are not built",
        "install emsdk, source emsdk_env.sh",
    ),
    Help("node", "Node", "web modules are not run", "apt-get install nodejs npm"),
    Help(
        "vulkan",
        "Vulkan driver",
        "WebGPU modules are not run",
        "apt-get install mesa-vulkan-drivers (24 or later)",
    ),
    Help("chromium", "Chromium", "web modules are not run in a browser", "apt-get install chromium"),
    Help("qemu-aarch64", "qemu-user", "archives for Linux on 64-bit ARM are not run", "apt-get install qemu-user"),
    Help("wine", "Wine", "archives for Windows on x86-64 are not run", "apt-get install wine64"),
    Help(
        "mingw-c++",
        "MinGW",
        "archives for Windows on x86-64 are not run",
        "apt-get install g++-mingw-w64-x86-64-posix",
    ),
    Help(
        "ccache", "ccache", "a runtime that is built from nothing again takes its full time", "apt-get install ccache"
    ),
    Help("cmake", "CMake", "runtimes are not built", "pip install cmake"),
    Help("cargo", "Cargo", "runtimes with a tokenizer (mlc_llm's) are not built", "install Rust: https://rustup.rs"),
    Help("uv", "uv", "environments of toolchains are made by pip, which takes longer", "pip install uv"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether one of them is here."""

    help: Help
    tool: Tool | None

    @property
    def hint(self) -> str:
        """How to get it on this kind of machine."""
        return self.help.hint if self.help.only in (None, sys.platform) else "take a Mac; nothing else has it"


def look(find: Callable[[str], Tool | None]) -> list[Finding]:
    """Look for everything."""
    return [Finding(one, find(one.name)) for one in HELPS]
