"""Lets Xcode judge the xcframeworks in dist/: `python check_with_xcode.py dist`, on a Mac with Xcode.

For each one: `xcodebuild -create-xcframework` must accept its libraries and describe them as we do; Apple's linker must
link each slice with the flags of the kit; `doit verify-app` must find both constructors of every model in the result.
Standard library only.
"""

from __future__ import annotations

import json
import plistlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SAME = (
    "LibraryIdentifier",
    "LibraryPath",
    "SupportedArchitectures",
    "SupportedPlatform",
    "SupportedPlatformVariant",
)
"""Keys of a slice that must be equal. Others come and go with the version of Xcode."""

SDKS = {
    ("ios", None): ("iphoneos", "{arch}-apple-ios18.0"),
    ("ios", "simulator"): ("iphonesimulator", "{arch}-apple-ios18.0-simulator"),
    ("ios", "maccatalyst"): ("macosx", "{arch}-apple-ios18.0-macabi"),
    ("macos", None): ("macosx", "{arch}-apple-macos15.0"),
}
"""Platform and variant -> the SDK to link against, and the target. Newer than the objects, which is allowed."""


def main(dist: Path) -> int:
    """Check every xcframework; 1 when something is wrong."""
    found = sorted(dist.glob("*/*.xcframework"))
    if not found:
        print(f"there is no xcframework in {dist}")
        return 1
    return max([check(framework) for framework in found])


def check(framework: Path) -> int:
    """Check one xcframework, and say what is wrong with it."""
    ours = slices(framework)
    with tempfile.TemporaryDirectory() as folder:
        theirs = slices(created(framework, ours, Path(folder) / framework.name))
        wrong = [f"we say {a}, xcodebuild says {b}" for a, b in differing(ours, theirs)]
        for piece in ours:
            wrong += linked(framework, piece, Path(folder))
    for text in wrong:
        print(f"✗ {framework}: {text}")
    if not wrong:
        print(f"{framework}: {len(ours)} slices, as xcodebuild makes them, alive after linking")
    return 1 if wrong else 0


def slices(framework: Path) -> list[dict[str, Any]]:
    """What Info.plist says of each slice, sorted, and only what must be equal."""
    listed = plistlib.loads((framework / "Info.plist").read_bytes())["AvailableLibraries"]
    chosen = [{key: entry.get(key) for key in SAME} for entry in listed]
    for entry in chosen:
        entry["SupportedArchitectures"] = sorted(entry["SupportedArchitectures"])
    return sorted(chosen, key=lambda entry: entry["LibraryIdentifier"])


def created(framework: Path, pieces: list[dict[str, Any]], target: Path) -> Path:
    """Have xcodebuild make an xcframework of the same libraries."""
    words = ["xcodebuild", "-create-xcframework"]
    for piece in pieces:
        words += ["-library", str(framework / piece["LibraryIdentifier"] / piece["LibraryPath"])]
    subprocess.run([*words, "-output", str(target)], check=True)
    return target


def differing(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    """Slices that are not the same on both sides."""
    if len(ours) != len(theirs):
        return [(ours, theirs)]
    return [(a, b) for a, b in zip(ours, theirs, strict=True) if a != b]


def linked(framework: Path, piece: dict[str, Any], folder: Path) -> list[str]:
    """Link a slice into a dynamic library as an app does, and have its models looked for; what is wrong."""
    kit = framework.parent
    models = json.loads((kit / "link.json").read_text(encoding="utf-8"))["models"].values()
    sdk, target = SDKS[piece["SupportedPlatform"], piece["SupportedPlatformVariant"]]
    library = framework / piece["LibraryIdentifier"] / piece["LibraryPath"]
    keep = [f"-Wl,-u,_{symbol}" for model in models for symbol in model["keep_symbols"]]
    wrong = []
    for arch in piece["SupportedArchitectures"]:
        app = folder / f"{piece['LibraryIdentifier']}-{arch}.dylib"
        words = ["xcrun", "--sdk", sdk, "clang", "-target", target.format(arch=arch), "-dynamiclib", "-dead_strip"]
        # The runtime is not part of the kit: an app brings it.
        words += ["-Wl,-undefined,dynamic_lookup", f"-Wl,-force_load,{library}", *keep, "-o", str(app)]
        if subprocess.run(words, check=False).returncode:
            wrong.append(f"{app.stem} cannot be linked")
        elif subprocess.run(["doit", "verify-app", "--link", str(kit / "link.json"), str(app)], check=False).returncode:
            wrong.append(f"{app.stem} has lost models")
    return wrong


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
