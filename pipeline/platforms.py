"""What Apple calls things: which SDK builds for a platform, and how the Metal compiler is told a system and a version.

The steps that run Xcode's tools ask here, and so does the plan, which names those tools. Facts only: nothing is run.
"""

from __future__ import annotations

from collections.abc import Mapping

SDKS: Mapping[str, str] = {
    "ios": "iphoneos",
    "ios-simulator": "iphonesimulator",
    "maccatalyst": "macosx",
    "macos": "macosx",
}
"""Our platform -> the SDK that builds for it. Catalyst's is the Mac's."""

_FIRST_MACOS_OF_CATALYST = {13: "10.15", 14: "11.0", 15: "12.0", 16: "13.0", 17: "14.0", 18: "15.0"}
"""Major version of iOS that a Catalyst app asks for -> the macOS that has it. From 26 on the numbers are the same."""

_LANGUAGES = (((14, 11), "2.3"), ((13, 10.15), "2.2"), ((12, 10.14), "2.1"), ((0, 0), "2.0"))
"""Lowest iOS and macOS -> the Metal language they know. TVM writes kernels in 2.3 at most."""


def macos_of_catalyst(version: str) -> str:
    """The oldest macOS that runs a Catalyst app with this deployment target: `18.0` is `15.0`."""
    major = int(version.partition(".")[0])
    return _FIRST_MACOS_OF_CATALYST.get(major, version)


def metal_target(platform: str, deployment_target: str) -> tuple[str, str]:
    """The triple and the language standard for the Metal compiler.

    A metallib says for which system it is, and from which version on it runs; without a triple that version is the
    SDK's, and the library is refused by every older system. The simulator is a system of its own. Catalyst apps load
    libraries for macOS, as mlc_llm builds them too.

    Args:
        platform: `ios`, `ios-simulator`, `maccatalyst` or `macos`.
        deployment_target: the oldest system, e.g. `14.0`.

    Returns:
        For instance `("air64-apple-ios14.0-simulator", "ios-metal2.3")`.
    """
    if platform in {"ios", "ios-simulator"}:
        suffix = "-simulator" if platform == "ios-simulator" else ""
        major = float(deployment_target.partition(".")[0])
        language = next(language for (lowest, _), language in _LANGUAGES if major >= lowest)
        return f"air64-apple-ios{deployment_target}{suffix}", f"ios-metal{language}"
    version = macos_of_catalyst(deployment_target) if platform == "maccatalyst" else deployment_target
    number = float(".".join(version.split(".")[:2]))
    language = next(language for (_, lowest), language in _LANGUAGES if number >= lowest)
    return f"air64-apple-macos{version}", f"macos-metal{language}"


def metal_tool(platform: str) -> str:
    """The name, in `Action.tools`, of the Metal compiler for a platform."""
    return f"metal:{SDKS[platform]}"


def sdk_tool(platform: str) -> str:
    """The name, in `Action.tools`, of the C and C++ compiler and the SDK for a platform."""
    return f"sdk:{SDKS[platform]}"
