"""Is an xcframework what Xcode will accept, does it hold the archives that were proven, and do its settings link it?

Called by `pipeline.steps.verify` for a product. Reads the finished folder back with nothing but Apple's rules in mind
(`XCFramework.swift` of swiftlang/swift-build); it does not ask the code that wrote it what it should be.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.binary import fat
from pipeline.binary.ar import read_members
from pipeline.documents.info_plist import AvailableLibrary, read_info_plist
from pipeline.errors import FormatError
from pipeline.files import hash_path, sha256_bytes
from pipeline.nearest import listed
from pipeline.platforms import APPLE

from .report import Check, counted, failed, proven, settled
from .subject import Library

_PLATFORMS = {(apple.supported, apple.variant): name for name, apple in APPLE.items()}
"""SupportedPlatform and SupportedPlatformVariant -> our word for both."""

_REQUIRED = ("LibraryIdentifier", "LibraryPath", "SupportedArchitectures", "SupportedPlatform")
_AGAIN = "doit forget xcframework:{0} && doit xcframework:{0}"


@dataclass(frozen=True, slots=True)
class FrameworkSlice:
    """One entry of `AvailableLibraries`, taken at its word. `path` is relative to the bundle."""

    identifier: str
    platform: str
    architectures: tuple[str, ...]
    path: PurePosixPath


def read_slices(bundle: Path) -> tuple[list[FrameworkSlice], list[str]]:
    """Read `Info.plist`.

    Returns:
        The slices, and every rule that is broken, in words.
    """
    try:
        document = read_info_plist(bundle)
    except (OSError, FormatError) as error:
        return [], [f"Info.plist cannot be read: {error}"]
    problems = []
    if document.CFBundlePackageType != "XFWK":
        problems.append(f"CFBundlePackageType is {document.CFBundlePackageType!r}, not XFWK")
    if document.XCFrameworkFormatVersion != "1.0":
        problems.append(f"XCFrameworkFormatVersion is {document.XCFrameworkFormatVersion!r}, not 1.0")
    if not document.AvailableLibraries:
        problems.append("AvailableLibraries is empty")
    slices = []
    for number, entry in enumerate(document.AvailableLibraries):
        broken = list(_entry_problems(bundle, entry, f"library {number}"))
        problems += broken
        if not broken:
            path = PurePosixPath(entry.LibraryIdentifier, entry.LibraryPath)
            platform = _PLATFORMS[entry.SupportedPlatform, entry.SupportedPlatformVariant]
            slices.append(FrameworkSlice(entry.LibraryIdentifier, platform, entry.SupportedArchitectures, path))
    problems += _common_problems(slices)
    return slices, problems


def _entry_problems(bundle: Path, entry: AvailableLibrary, name: str) -> Iterator[str]:
    if lacking := [key for key in _REQUIRED if not getattr(entry, key)]:
        yield f"{name} has no {listed(lacking)}"
        return
    platform, variant = entry.SupportedPlatform, entry.SupportedPlatformVariant
    identifier = entry.LibraryIdentifier
    named = "-".join([platform, "_".join(sorted(entry.SupportedArchitectures)), *([variant] if variant else [])])
    if identifier != named:
        yield f"{name} is called {identifier}, by the rules it is {named}"
    if (platform, variant) not in _PLATFORMS:
        yield f"{identifier} is for an unknown platform {platform} {variant or ''}".rstrip()
    if (path := PurePosixPath(entry.LibraryPath)).is_absolute() or ".." in path.parts:
        yield f"{identifier} names a library outside its folder: {path}"
    elif not (bundle / identifier / path).is_file():
        yield f"{identifier}/{path} is not there"
    if entry.BinaryPath not in (None, entry.LibraryPath):
        yield f"{identifier} has a BinaryPath other than its LibraryPath, though it is a static library"


def _common_problems(slices: list[FrameworkSlice]) -> Iterator[str]:
    platforms = [piece.platform for piece in slices]
    for platform in sorted({name for name in platforms if platforms.count(name) > 1}):
        yield f"{platforms.count(platform)} libraries are for {platform}; Xcode takes one, fat where need be"
    if len(names := sorted({piece.path.name for piece in slices})) > 1:
        yield f"the library is called {' and '.join(names)}; CocoaPods wants one name in all slices"


def check_plist(bundle: Path, product: str) -> tuple[Check, list[FrameworkSlice]]:
    """`Info.plist` obeys the rules, and names what is there."""
    slices, problems = read_slices(bundle)
    there = {path.name for path in bundle.iterdir() if path.is_dir()} if bundle.is_dir() else set()
    problems += [f"folder {name} is in no entry" for name in sorted(there - {piece.identifier for piece in slices})]
    saw = f"{counted(len(slices), 'slice')}: {listed([piece.identifier for piece in slices], 8)}"
    return settled("Info.plist", problems, saw, _AGAIN.format(product)), slices


def check_slices(bundle: Path, slices: list[FrameworkSlice], libraries: list[Library], product: str) -> Check:
    """Every slice holds, byte for byte, the archives of its backends, and objects of one platform only."""
    problems, left = [], {(str(one.backend.platform), one.backend.arch): one for one in libraries}
    for piece in slices:
        data = (bundle / piece.path).read_bytes()
        thins = {thin.arch: thin.data for thin in fat.read_fat(data, str(piece.path))} if fat.is_fat(data) else None
        if thins is None:
            thins = {piece.architectures[0]: data}
        if sorted(thins) != sorted(piece.architectures):
            problems.append(
                f"{piece.identifier} holds {listed(sorted(thins))}, Info.plist says {listed(list(piece.architectures))}"
            )
        for arch, thin in thins.items():
            library = left.pop((piece.platform, arch), None)
            if library is None:
                problems.append(f"{piece.identifier} has {arch}, which no backend of the product is for")
            elif sha256_bytes(thin) != hash_path(library.path):
                problems.append(
                    f"{arch} of {piece.identifier} is not the archive of {library.backend.name} that was proven"
                )
            problems += _platform_problems(piece, thin)
    problems += [f"{library.backend.name} is in no slice" for library in left.values()]
    saw = f"{counted(len(libraries), 'archive')}, the very bytes that were proven, one platform each"
    return settled("slices", problems, saw, _AGAIN.format(product))


def _platform_problems(piece: FrameworkSlice, thin: bytes) -> Iterator[str]:
    """What xcodebuild says no to: members of several platforms, or of none."""
    platforms = {info.platform for info in read_members(thin, str(piece.path))}
    if platforms != {piece.platform}:
        found = listed(sorted(platform or "no platform" for platform in platforms))
        yield f"{piece.identifier} holds objects for {found}, not for {piece.platform} alone"


def check_zip(packed: Path, bundle: Path, product: str) -> Check:
    """The zip holds exactly the folder, under its name, and its checksum is the one written beside it."""
    checksum = packed.with_name(f"{packed.name}.checksum")
    if lacking := [path.name for path in (packed, checksum) if not path.is_file()]:
        return failed("zip", f"{' and '.join(lacking)} missing", _AGAIN.format(product))
    said, is_ = checksum.read_text(encoding="ascii").strip(), hash_path(packed)
    if said != is_:
        return failed("zip", f"its SHA-256 is {is_[:12]}…, its checksum file says {said[:12]}…", _AGAIN.format(product))
    try:
        with zipfile.ZipFile(packed) as archive:
            inside = {
                info.filename: sha256_bytes(archive.read(info)) for info in archive.infolist() if not info.is_dir()
            }
    except zipfile.BadZipFile as error:
        return failed("zip", f"it is no zip: {error}", _AGAIN.format(product))
    folder = {
        f"{bundle.name}/{path.relative_to(bundle).as_posix()}": hash_path(path)
        for path in bundle.rglob("*")
        if path.is_file()
    }
    if inside != folder:
        differing = sorted(name for name in inside.keys() | folder.keys() if inside.get(name) != folder.get(name))
        return failed("zip", f"zip and folder differ in {listed(differing)}", _AGAIN.format(product))
    return proven("zip", f"{len(inside)} files at its root {bundle.name}/, checksum {said[:12]}…")
