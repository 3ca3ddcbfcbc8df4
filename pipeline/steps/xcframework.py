"""Step `xcframework`: the archives of several Apple backends become one `.xcframework`, and a zip of it for SwiftPM.

`run` calls it with the archive of every backend of a product, and with its runtime where the product brings one: each
library of that becomes an `.xcframework` of its own. No Xcode is needed: an xcframework is a directory with a
property list, and its rules are those of Apple's own reader (`XCFramework.swift` in swiftlang/swift-build). What
`xcodebuild -create-xcframework` refuses is refused here, for the same reasons.
"""

from __future__ import annotations

import plistlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.action import Job, Json
from pipeline.binary import fat
from pipeline.binary.ar import read_archive
from pipeline.binary.objects import read_object
from pipeline.errors import StepError
from pipeline.kits.runtime import RuntimeLibrary, read_runtime, same_names
from pipeline.kits.slices import Slice, Thin, slices
from pipeline.kits.zip import write_zip

from .folders import sha256

ROLE = "archive:"
"""Roles of the inputs are `archive:<backend>`."""

FORMAT_VERSION = "1.0"
"""`XCFrameworkFormatVersion`; 1.1 would say that a library has mergeable metadata, and archives have none."""


def run(job: Job[Any]) -> dict[str, Json]:
    """Write `<name>.xcframework/`, `<name>.xcframework.zip` and `<name>.xcframework.zip.checksum` for each library.

    The product gives the framework its name, which SwiftPM wants to be that of the binary target. The checksum is what
    `swift package compute-checksum` prints: the SHA-256 of the zip.

    Raises:
        StepError: an archive is not for one Apple platform, or two would be the same slice.
        FormatError: an archive is malformed.

    Returns:
        Facts: `slices`, and `bytes` and `checksum` of the models; `runtime`, the other libraries.
    """
    product, backends = job.params["product"], job.params["backends"]
    archive = f"lib{job.params['library']}.a"
    data = {backend["name"]: (job.inputs[ROLE + backend["name"]] / archive).read_bytes() for backend in backends}
    found = slices(observe(backend, data[backend["name"]]) for backend in backends)
    libraries = {product: {piece.identifier: join(piece, data) for piece in found}}
    for piece in found:
        for one in runtime_of(product, piece, job.inputs):
            libraries.setdefault(one.name, {})[piece.identifier] = one.data
    checksums = {}
    for done, (name, of_slices) in enumerate(libraries.items()):
        checksums[name] = _write(
            job.out, name, tuple(piece for piece in found if piece.identifier in of_slices), of_slices
        )
        job.services.progress(done + 1, len(libraries), "libraries")
    return {
        "slices": [piece.identifier for piece in found],
        "bytes": sum(map(len, libraries[product].values())),
        "checksum": checksums[product],
        "runtime": [name for name in libraries if name != product],
    }


def _write(out: Path, name: str, found: tuple[Slice, ...], data: Mapping[str, bytes]) -> str:
    """Write the framework of one library, and its zip; return the checksum of that."""
    bundle = out / f"{name}.xcframework"
    for piece in found:
        library = out / library_path(name, piece)
        library.parent.mkdir(parents=True)
        library.write_bytes(data[piece.identifier])
    (bundle / "Info.plist").write_bytes(info_plist(found, library_name(name)))
    packed = out / f"{bundle.name}.zip"
    write_zip(packed, bundle)
    checksum = sha256(packed)
    (out / f"{packed.name}.checksum").write_text(f"{checksum}\n", encoding="ascii")
    return checksum


def runtime_of(product: str, piece: Slice, inputs: Mapping[str, Path]) -> tuple[RuntimeLibrary, ...]:
    """The runtime's libraries for a slice, fat where it is, each with the place it has in the product's directory.

    Raises:
        StepError: the backends of the slice do not have the same, or one is called like the product.
    """
    thins = {thin.backend: read_runtime(inputs, thin.backend) for thin in piece.thins}
    found = []
    for name in same_names(piece.identifier, thins):
        if name == product:
            raise StepError(
                f"product {product} has the name of a library of the runtime, and Xcode would mix up lib{name}.a",
                hint="give the product another name",
            )
        data = join(piece, {backend: libraries[name].data for backend, libraries in thins.items()})
        first = thins[piece.thins[0].backend][name]
        found.append(replace(first, path=library_path(name, piece), data=data))
    return tuple(found)


def observe(backend: Mapping[str, Json], data: bytes) -> Thin:
    """Read from the objects of an archive what it is for, and hold it against what targets.yaml says.

    As `xcodebuild` does: members without a platform are let pass when another member names one.

    Raises:
        StepError: no platform or more than one, several architectures, or not what the backend is said to be.
    """
    name = backend["name"]
    infos = [
        read_object(member.data, f"{name}({member.name})") for member in read_archive(data, f"the archive of {name}")
    ]
    platforms = sorted({info.platform for info in infos if info.platform is not None})
    architectures = sorted({info.arch for info in infos})
    again = f"rebuild it: doit forget archive:{name} && doit archive:{name}"
    if len(platforms) != 1:
        what = "no member names its platform" if not platforms else f"its members are for {' and '.join(platforms)}"
        raise StepError(
            f"the archive of {name} can not be a slice: {what}", hint=f"check the triple of {name}, then {again}"
        )
    if len(architectures) != 1:
        raise StepError(f"the archive of {name} mixes {' and '.join(architectures)}", hint=again)
    seen, said = (platforms[0], architectures[0]), (backend["platform"], backend["arch"])
    if seen != said:
        raise StepError(
            f"the archive of {name} is for {' '.join(seen)}, and {name} is said to be {' '.join(said)}",
            hint=f"check the triple of {name} in targets.yaml, then {again}",
        )
    return Thin(name, platforms[0], architectures[0], backend["deployment_target"])


def join(piece: Slice, data: Mapping[str, bytes]) -> bytes:
    """The library of a slice: the archive of its only backend, or a fat file of all."""
    if len(piece.thins) == 1:
        return data[piece.thins[0].backend]
    return fat.write_fat((fat.Slice(thin.arch, data[thin.backend]) for thin in piece.thins), piece.identifier)


def info_plist(found: tuple[Slice, ...], library: str) -> bytes:
    """The property list at the root, with sorted keys.

    `BinaryPath` is what current Xcode writes for libraries too; older ones ignore it.
    """
    entries = []
    for piece in found:
        entry: dict[str, Json] = {
            "BinaryPath": library,
            "LibraryIdentifier": piece.identifier,
            "LibraryPath": library,
            "SupportedArchitectures": list(piece.architectures),
            "SupportedPlatform": piece.supported,
        }
        if piece.variant is not None:
            entry["SupportedPlatformVariant"] = piece.variant
        entries.append(entry)
    document = {
        "AvailableLibraries": entries,
        "CFBundlePackageType": "XFWK",
        "XCFrameworkFormatVersion": FORMAT_VERSION,
    }
    return plistlib.dumps(document, sort_keys=True)


def library_name(product: str) -> str:
    """The name of the library, the same in every slice (CocoaPods refuses others) and another in every product.

    Xcode copies the libraries of all xcframeworks of an app into one directory, so it is the product's name and not
    that of the archives.
    """
    return f"lib{product}.a"


def library_path(name: str, piece: Slice) -> str:
    """Where a slice's library is, relative to the product's directory; the models' is called like the product."""
    return f"{name}.xcframework/{piece.identifier}/{library_name(name)}"
