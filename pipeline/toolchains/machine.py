"""What of a machine besides Python matters to a build, and what is lost where it is missing.

`doit doctor` reads it. Everything here is optional: what cannot be done without one of these is not proven, or not
made, and says so at the time; this table says it before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.action import Tool


@dataclass(frozen=True, slots=True)
class Help:
    """Something that a machine may have.

    Attributes:
        name: as in keys; see `engine.tools`.
        title: for people.
        cost: what is lost without it.
        hint: how to get it.
        only: `sys.platform` where it can be had at all; None for anywhere.
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
    Help(
        "nginx", "nginx", "the tests of the remote store that need a real server are left out", "apt-get install nginx"
    ),
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
    return [Finding(one, _find(one.name, find)) for one in HELPS]


def _find(name: str, find: Callable[[str], Tool | None]) -> Tool | None:
    """A tool; a server too, which is not on the PATH of people."""
    return find(name) or (find(f"/usr/sbin/{name}") if name == "nginx" else None)
