"""One table of what systems and processors are called: by us, by object files, linkers, SDKs and package managers.

Whatever reads or writes such a name asks here. Facts only: nothing is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Platform = Literal[
    "ios", "ios-simulator", "maccatalyst", "macos", "tvos", "tvos-simulator", "watchos", "watchos-simulator", "xros",
    "xros-simulator", "linux", "android", "windows", "wasm",
]  # fmt: skip
"""Where a backend's objects run. The Apple ones are what LC_BUILD_VERSION distinguishes; `xros` is visionOS."""

ObjectFormat = Literal["macho", "elf", "wasm", "coff"]
"""The object file format that a platform's triples yield."""

_SPELLINGS = {"aarch64": "arm64", "amd64": "x86_64", "arm": "armv7", "armv7a": "armv7", "wasm": "wasm32"}
"""Other names of an architecture -> ours: Mach-O and Apple say arm64 where ELF and LLVM say aarch64."""


_DEVICES = frozenset(
    {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(10))}
)
_LONGEST_PATH, _LONGEST_PART = 1000, 255
_NOT_IN_NAMES = frozenset('<>:"|?*\\')


def unportable(path: str) -> str | None:
    """Why a system on which apps are built could have no file at this relative path; None where all of them can."""
    if len(path) > _LONGEST_PATH or any(len(part.encode(errors="replace")) > _LONGEST_PART for part in path.split("/")):
        return "is longer than files may be called"
    for part in path.split("/"):
        if any(ord(char) < 0x20 or char == "\x7f" or "\ud800" <= char <= "\udfff" for char in part):  # noqa: PLR2004 - ASCII
            return "holds what is no text"
        if bad := sorted(_NOT_IN_NAMES & set(part)):
            return f"holds {bad[0]}, which Windows has in no name"
        if part.endswith((".", " ")):
            return "has a part that ends in a dot or a blank, which Windows leaves out"
        if part.partition(".")[0].rstrip().upper() in _DEVICES:
            return f"holds {part}, which is a device on Windows"
    return None


def architecture(name: str) -> str:
    """Our spelling of an architecture: `arm64`, `x86_64`, `armv7`, `i686`, `wasm32`."""
    return _SPELLINGS.get(name.lower(), name.lower())


RUST_ARCHITECTURES: Mapping[str, str] = {"arm64": "aarch64", "armv7": "arm", "i686": "x86"}
"""Ours -> `CARGO_CFG_TARGET_ARCH`, where it is another."""

ANDROID_ABIS: Mapping[str, str] = {"arm64": "arm64-v8a", "x86_64": "x86_64", "armv7": "armeabi-v7a", "i686": "x86"}

_OF_ANDROID = (
    "EGL GLESv1_CM GLESv2 GLESv3 OpenCL OpenMAXAL OpenSLES RS aaudio amidi android binder_ndk c c++_shared "
    "camera2ndk dl icu jnigraphics log m mediandk nativehelper nativewindow neuralnetworks stdc++ sync tvm_ffi "
    "tvm_runtime vulkan z"
)
ANDROID_LIBRARIES = frozenset(f"lib{name}.so" for name in _OF_ANDROID.split())
"""Of the system, of the NDK and of TVM: the loader takes the one of a name that is there, so ours needs another."""

CMAKE_PROCESSORS: Mapping[str, tuple[str, ...]] = {
    "arm64": ("aarch64", "arm64", "ARM64", "arm64-v8a"),
    "x86_64": ("x86_64", "amd64", "AMD64"),
    "armv7": ("armeabi-v7a", "armv7-a", "armv7l"),
}
"""Architecture -> what `CMAKE_SYSTEM_PROCESSOR` may be."""

CMAKE_SYSTEMS: Mapping[str, str] = {
    "linux": "Linux", "android": "Android", "macos": "Darwin", "ios": "iOS", "ios-simulator": "iOS-simulator",
    "maccatalyst": "Catalyst", "windows": "Windows",
}  # fmt: skip
"""Platform -> `CMAKE_SYSTEM_NAME`."""

_APPLE_MACROS = "defined(__APPLE__) && TARGET_OS_"
COMPILER_MACROS: Mapping[str, str] = {
    "linux": "defined(__linux__) && !defined(__ANDROID__)",
    "android": "defined(__ANDROID__)",
    "windows": "defined(_WIN32)",
    "macos": f"{_APPLE_MACROS}OSX && !TARGET_OS_MACCATALYST",
    "maccatalyst": f"{_APPLE_MACROS}MACCATALYST",
    "ios": f"{_APPLE_MACROS}IOS && !TARGET_OS_SIMULATOR && !TARGET_OS_MACCATALYST",
    "ios-simulator": f"{_APPLE_MACROS}IOS && TARGET_OS_SIMULATOR",
    "tvos": f"{_APPLE_MACROS}TV && !TARGET_OS_SIMULATOR",
    "tvos-simulator": f"{_APPLE_MACROS}TV && TARGET_OS_SIMULATOR",
    "watchos": f"{_APPLE_MACROS}WATCH && !TARGET_OS_SIMULATOR",
    "watchos-simulator": f"{_APPLE_MACROS}WATCH && TARGET_OS_SIMULATOR",
    "xros": f"{_APPLE_MACROS}VISION && !TARGET_OS_SIMULATOR",
    "xros-simulator": f"{_APPLE_MACROS}VISION && TARGET_OS_SIMULATOR",
    "arm64": "__aarch64__",
    "x86_64": "__x86_64__",
    "armv7": "__arm__",
    "i686": "__i386__",
}
"""Platform -> a condition that is true for it in a C compiler; architecture -> a macro that is defined for it."""

DLPACK_DEVICES: Mapping[str, int] = {
    "llvm": 1, "c": 1, "cuda": 2, "opencl": 4, "vulkan": 7, "metal": 8, "rocm": 10, "webgpu": 15, "hexagon": 16,
}  # fmt: skip
"""Kind of device -> DLPack's number of it, which the runtime is told."""

ELF_EMULATIONS: Mapping[str, str] = {
    "arm64": "aarch64linux", "x86_64": "elf_x86_64", "armv7": "armelf_linux_eabi", "i686": "elf_i386",
}  # fmt: skip
"""Architecture -> what the linker's `-m` calls it. lld 14 does not look into archives to find out."""

COFF_MACHINES: Mapping[str, str] = {"arm64": "ARM64", "x86_64": "X64"}
"""Architecture -> what Windows' linkers call it with `/MACHINE:`."""

MSVC_MACROS: Mapping[str, str] = {"arm64": "_M_ARM64", "x86_64": "_M_X64"}
"""Architecture -> what Microsoft's compiler defines for it, and what stands in for that one."""


@dataclass(frozen=True)
class ApplePlatform:
    """What Apple calls a platform.

    Attributes:
        supported: `SupportedPlatform` in an xcframework.
        variant: `SupportedPlatformVariant`, absent for devices and plain macOS.
        sdk: the SDK that builds for it. Catalyst's is the Mac's.
        linker: its name for `ld -platform_version`, where `maccatalyst` would be "malformed platform".
    """

    supported: str
    variant: str | None
    sdk: str
    linker: str


APPLE: Mapping[str, ApplePlatform] = {
    "ios": ApplePlatform("ios", None, "iphoneos", "ios"),
    "ios-simulator": ApplePlatform("ios", "simulator", "iphonesimulator", "ios-simulator"),
    "maccatalyst": ApplePlatform("ios", "maccatalyst", "macosx", "mac-catalyst"),
    "macos": ApplePlatform("macos", None, "macosx", "macos"),
    "tvos": ApplePlatform("tvos", None, "appletvos", "tvos"),
    "tvos-simulator": ApplePlatform("tvos", "simulator", "appletvsimulator", "tvos-simulator"),
    "watchos": ApplePlatform("watchos", None, "watchos", "watchos"),
    "watchos-simulator": ApplePlatform("watchos", "simulator", "watchsimulator", "watchos-simulator"),
    "xros": ApplePlatform("xros", None, "xros", "xros"),
    "xros-simulator": ApplePlatform("xros", "simulator", "xrsimulator", "xros-simulator"),
}

FORMATS: Mapping[str, ObjectFormat] = {
    **dict.fromkeys(APPLE, "macho"),
    "linux": "elf",
    "android": "elf",
    "windows": "coff",
    "wasm": "wasm",
}

PRODUCT_PLATFORMS: Mapping[str, frozenset[str]] = {
    "xcframework": frozenset(APPLE),
    "android": frozenset({"android"}),
    "native": frozenset({"linux", "macos", "windows", "android", "ios", "ios-simulator", "maccatalyst"}),
    "web": frozenset({"wasm"}),
    "layout": frozenset(FORMATS),
}
"""What each kind of product can hold."""

SDKS: Mapping[str, str] = {name: apple.sdk for name, apple in APPLE.items()}

_FIRST_MACOS_OF_CATALYST = {13: "10.15", 14: "11.0", 15: "12.0", 16: "13.0", 17: "14.0", 18: "15.0"}
"""Major version of iOS that a Catalyst app asks for -> the macOS that has it. From 26 on the numbers are the same."""

_LANGUAGES = (((14, 11), "2.3"), ((13, 10.15), "2.2"), ((12, 10.14), "2.1"), ((0, 0), "2.0"))
"""Lowest iOS and macOS -> the Metal language they know. TVM writes kernels in 2.3 at most."""


def metal_target(platform: str, deployment_target: str) -> tuple[str, str]:
    """The triple and the language standard for the Metal compiler: `("air64-apple-ios14.0-simulator", "ios-metal2.3")`.

    A metallib says for which system it is, and from which version on it runs; without a triple that version is the
    SDK's, and the library is refused by every older system. The simulator is a system of its own. Catalyst apps load
    libraries for macOS, as mlc_llm builds them too.
    """
    if platform in {"ios", "ios-simulator"}:
        suffix, major = platform.removeprefix("ios"), float(deployment_target.partition(".")[0])
        language = next(language for (lowest, _), language in _LANGUAGES if major >= lowest)
        return f"air64-apple-ios{deployment_target}{suffix}", f"ios-metal{language}"
    version = deployment_target
    if platform == "maccatalyst":
        version = _FIRST_MACOS_OF_CATALYST.get(int(version.partition(".")[0]), version)
    number = float(".".join(version.split(".")[:2]))
    language = next(language for (_, lowest), language in _LANGUAGES if number >= lowest)
    return f"air64-apple-macos{version}", f"macos-metal{language}"


METALLIBS = frozenset({"ios", "ios-simulator", "maccatalyst", "macos"})
"""Where kernels can be compiled before they ship: what `metal_target` knows."""

METAL_INSTALL = (
    "install Xcode, then: xcodebuild -downloadComponent MetalToolchain; or set `kernels: source` for the backend"
)
"""What to do where there is no Metal compiler."""


def metal_tool(platform: str) -> str:
    """The name, in `Action.tools`, of the Metal compiler for a platform."""
    return f"metal:{SDKS[platform]}"


def sdk_tool(platform: str) -> str:
    """The name, in `Action.tools`, of the C and C++ compiler and the SDK for a platform."""
    return f"sdk:{SDKS[platform]}"


def version(text: str | None) -> tuple[int, ...]:
    """A version of a system as numbers, without zeros at the end: `14`, `14.0` and `14.0.0` are equal; None is ().

    Raises:
        ValueError: it is not numbers with dots between them.
    """
    numbers = [int(part) for part in (text or "0").split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
