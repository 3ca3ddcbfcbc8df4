"""The settings with which a runtime is built for a backend: CMake's variables for its system, version and devices.

They are those of TVM's and mlc_llm's own documentation, with the deployment target and the architecture of the cell in
the place of what those scripts fix.
"""

from __future__ import annotations

import platform as machine
import re
from collections.abc import Mapping
from pathlib import Path

from pipeline.action import Tool, present
from pipeline.errors import StepError, ToolMissing
from pipeline.matrix.cells import Backend
from pipeline.platforms import ANDROID_ABIS, SDKS, architecture, sdk_tool

COMMON: Mapping[str, str] = {
    "CMAKE_BUILD_TYPE": "Release",
    "CMAKE_POSITION_INDEPENDENT_CODE": "ON",
    "BUILD_SHARED_LIBS": "OFF",
    "BUILD_STATIC_RUNTIME": "ON",
    "USE_LLVM": "OFF",
    "USE_RPC": "OFF",
    "USE_GTEST": "OFF",
    "USE_Z3": "OFF",
    "USE_CCACHE": "OFF",
    "TVM_FFI_USE_LIBBACKTRACE": "OFF",
    "TVM_FFI_BACKTRACE_ON_SEGFAULT": "OFF",
    "MLC_LLM_INSTALL_STATIC_LIB": "ON",
    "SPM_ENABLE_SHARED": "OFF",
}
"""For every backend. A project that does not know one of them says so in the log, and goes on."""

DEVICES = {
    "cuda": "USE_CUDA",
    "hexagon": "USE_HEXAGON",
    "metal": "USE_METAL",
    "opencl": "USE_OPENCL",
    "rocm": "USE_ROCM",
    "vulkan": "USE_VULKAN",
}
"""Kind of device -> the switch of its part of the runtime. All are said, as no default of a checkout must add one."""

ANDROID_API = 24
"""The oldest Android that the runtime asks for, as mlc_llm's."""

_CATALYST_TOOLCHAIN = "3rdparty/tokenizers-cpp/sentencepiece/cmake/ios.toolchain.cmake"
_LANGUAGES = ("C", "CXX", "OBJC", "OBJCXX")


def tools(backend: Backend) -> tuple[str, ...]:
    """Names of the tools that building for a backend takes."""
    platform = backend.platform
    if platform in SDKS:
        return ("cmake", sdk_tool(platform))
    if platform == "android":
        return ("cmake", "ndk")
    return ("cmake", *(("aarch64-cc", "aarch64-c++") if backend.arch == "arm64" else ()), "cc", "c++")


def settings(
    backend: Backend, found: Mapping[str, Tool | None], *, source: Path, sdk_path: str | None
) -> dict[str, str]:
    """CMake's variables for a backend, without flags (see `flags`). `sdk_path`: the SDK's directory, for Catalyst.

    Raises:
        ToolMissing: this machine cannot build for the backend.
    """
    device, platform = backend.device_kind, backend.platform
    values = {**COMMON, **{switch: "ON" if kind == device else "OFF" for kind, switch in DEVICES.items()}}
    if platform in SDKS:
        return values | _apple(backend, source, sdk_path)
    if platform == "android":
        return values | {"USE_OPENCL_ENABLE_HOST_PTR": "ON"} | android(backend, found)
    if platform == "linux":
        return values | _linux(backend, found)
    raise StepError(f"a runtime for {platform} is not built by CMake", hint="leave the backend out of `runtime`")


def flags(backend: Backend, *, renamed: Mapping[Path, str], sdk_path: str | None) -> dict[str, str]:
    """The variables with compiler flags. `sdk_path`: the SDK's directory, for Catalyst.

    `renamed` says what a directory is called in messages of the compiled code, so that no path of this machine gets
    into an archive, and equal sources give equal archives everywhere.
    """
    words = [f"-ffile-prefix-map={folder}={name}" for folder, name in renamed.items()]
    if backend.platform == "maccatalyst":
        support = f"{sdk_path}/System/iOSSupport"
        words += ["-target", backend.triple, "-isystem", f"{support}/usr/include"]
        words += ["-iframework", f"{support}/System/Library/Frameworks"]
    languages = _LANGUAGES if backend.platform in SDKS else ("C", "CXX")
    return {f"CMAKE_{language}_FLAGS": " ".join(map(_quoted, words)) for language in languages}


def launcher(ccache: str | None) -> dict[str, str]:
    """The variables that put ccache before every compiler: it changes how long a build takes, and nothing else."""
    if ccache is None:
        return {}
    return {f"CMAKE_{language}_COMPILER_LAUNCHER": ccache for language in _LANGUAGES}


def _quoted(word: str) -> str:
    """A word of a command line, for a shell. In double quotes: CMake takes single ones around a whole value away."""
    if re.fullmatch(r"[\w@%+=:,./-]+", word, re.ASCII):
        return word
    return '"' + re.sub(r'(["\\$`])', r"\\\1", word) + '"'


def _apple(backend: Backend, source: Path, sdk_path: str | None) -> dict[str, str]:
    platform, version, arch = backend.platform, str(backend.deployment_target), backend.arch
    if platform == "maccatalyst":
        # CMake knows no such system. It is the Mac's SDK under an iOS triple, which the compiler flags carry, and
        # CMake must not add a version of macOS to it.
        plain = {
            "CMAKE_OSX_SYSROOT": str(sdk_path),
            "CMAKE_OSX_ARCHITECTURES": arch,
            "CMAKE_OSX_DEPLOYMENT_TARGET": "",
        }
        toolchain = source / _CATALYST_TOOLCHAIN
        if not toolchain.is_file():
            return plain
        return {  # mlc_llm's: its Rust part must be told, too
            "CMAKE_TOOLCHAIN_FILE": str(toolchain),
            "PLATFORM": "MAC_CATALYST" if arch == "x86_64" else "MAC_CATALYST_ARM64",
            "DEPLOYMENT_TARGET": version,
            "ENABLE_BITCODE": "OFF",
        }
    values = {
        "CMAKE_OSX_SYSROOT": SDKS[platform],
        "CMAKE_OSX_ARCHITECTURES": arch,
        "CMAKE_OSX_DEPLOYMENT_TARGET": version,
    }
    if platform == "macos":
        return values
    return values | {"CMAKE_SYSTEM_NAME": "iOS", "CMAKE_SYSTEM_VERSION": version}


def android(backend: Backend, found: Mapping[str, Tool | None]) -> dict[str, str]:
    """CMake's variables for code that the NDK compiles.

    Raises:
        ToolMissing: there is none.
    """
    ndk = present(
        found.get("ndk"),
        f"the runtime of backend {backend.name} is built with Android's NDK, and there is none",
        "install it (sdkmanager 'ndk;27.2.12479018') and set ANDROID_NDK_HOME, or give `prebuilt:` archives",
    )
    return {
        "CMAKE_TOOLCHAIN_FILE": str(ndk.path / "build/cmake/android.toolchain.cmake"),
        "ANDROID_ABI": ANDROID_ABIS[backend.arch],
        "ANDROID_PLATFORM": f"android-{ANDROID_API}",
        "ANDROID_STL": "c++_static",
        "CMAKE_FIND_ROOT_PATH_MODE_PACKAGE": "ON",
    }


def _linux(backend: Backend, found: Mapping[str, Tool | None]) -> dict[str, str]:
    here = architecture(machine.machine())
    native = machine.system() == "Linux" and here == backend.arch
    names = ("cc", "c++") if native else ("aarch64-cc", "aarch64-c++")
    compilers = [found.get(name) for name in names]
    if None in compilers or (not native and backend.arch != "arm64"):
        raise ToolMissing(
            f"the runtime of backend {backend.name} ({backend.triple}) cannot be compiled on this machine",
            hint=(
                "install a C++ compiler (Debian, Ubuntu: apt-get install g++)"
                if native
                else "install a cross compiler (Debian, Ubuntu: apt-get install g++-aarch64-linux-gnu)"
            )
            + ", or give `prebuilt:` archives",
        )
    values = {
        f"CMAKE_{language}_COMPILER": str(tool.path)
        for language, tool in zip(("C", "CXX"), compilers, strict=True)
        if tool is not None
    }
    if native:
        return values
    return values | {"CMAKE_SYSTEM_NAME": "Linux", "CMAKE_SYSTEM_PROCESSOR": "aarch64"}
