"""Step `xcframework`: the archives of several Apple backends become one `.xcframework`, and a zip of it for SwiftPM.

The engine runs it with the archive of every backend of a product, and with its runtime where the product brings one:
each library of that becomes an `.xcframework` of its own. No Xcode is needed: an xcframework is a directory with a
property list, and its rules are those of Apple's own reader (`XCFramework.swift` in swiftlang/swift-build). What
`xcodebuild -create-xcframework` refuses is refused here, for the same reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.binary import fat
from pipeline.documents.info_plist import NAME, AvailableLibrary, InfoPlist, dumps
from pipeline.errors import StepError
from pipeline.files import hash_path
from pipeline.kits.runtime import RuntimeLibrary, check_alike, read_runtime
from pipeline.kits.slices import Slice, library_name, library_path, slices
from pipeline.kits.zip import write_zip
from pipeline.matrix.cells import Backend


@dataclass(frozen=True)
class Params:
    """What the step is given: the product, the name of the library, and the backends in it."""

    product: str
    library: str
    backends: tuple[Backend, ...]


def run(job: Job[Params]) -> Facts:
    """Write `<name>.xcframework/`, `<name>.xcframework.zip` and `<name>.xcframework.zip.checksum` for each library.

    The product gives the framework its name, which SwiftPM wants to be that of the binary target. The checksum is what
    `swift package compute-checksum` prints: the SHA-256 of the zip.

    Raises:
        StepError: an archive is not for one Apple platform, or two would be the same slice.
        FormatError: an archive is malformed.

    Returns:
        Facts: `slices`, and `bytes` and `checksum` of the models; `runtime`, the other libraries.
    """
    product, backends = job.params.product, job.params.backends
    archive = f"lib{job.params.library}.a"
    data = {one.name: (job.inputs[roles.archive(one.name)] / archive).read_bytes() for one in backends}
    found = slices(backends)
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
        place = out / library_path(name, piece)
        place.parent.mkdir(parents=True)
        place.write_bytes(data[piece.identifier])
    library = library_name(name)
    entries = (
        AvailableLibrary(one.identifier, library, one.architectures, one.apple.supported, one.apple.variant, library)
        for one in found
    )
    (bundle / NAME).write_bytes(dumps(InfoPlist(tuple(entries), "XFWK", "1.0")))
    packed = out / f"{bundle.name}.zip"
    write_zip(packed, bundle)
    checksum = hash_path(packed)
    (out / f"{packed.name}.checksum").write_text(f"{checksum}\n", encoding="ascii")
    return checksum


def runtime_of(product: str, piece: Slice, inputs: Mapping[str, Path]) -> tuple[RuntimeLibrary, ...]:
    """The runtime's libraries for a slice, fat where it is, each with the place it has in the product's directory.

    Raises:
        StepError: the backends of the slice do not have the same, or one is called like the product.
    """
    runtimes = {one.name: read_runtime(inputs, one.name) for one in piece.backends}
    found = []
    check_alike(
        f"the runtimes of one slice ({piece.identifier}) do not have the same libraries",
        {backend: sorted(libraries) for backend, libraries in runtimes.items()},
    )
    for name, first in runtimes[piece.backends[0].name].items():
        if name == product:
            raise StepError(
                f"product {product} has the name of a library of the runtime, and Xcode would mix up lib{name}.a",
                hint="give the product another name",
            )
        data = join(piece, {backend: libraries[name].data for backend, libraries in runtimes.items()})
        found.append(replace(first, path=library_path(name, piece), data=data))
    return tuple(found)


def join(piece: Slice, data: Mapping[str, bytes]) -> bytes:
    """The library of a slice: the archive of its only backend, or a fat file of all."""
    own = [data[one.name] for one in piece.backends]
    return own[0] if len(own) == 1 else fat.write_fat(map(fat.Slice, piece.architectures, own), piece.identifier)
