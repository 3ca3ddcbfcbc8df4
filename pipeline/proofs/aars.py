"""Is an Android library what Gradle, CMake and a device take it for, and does it hold the proven objects?

Called by `pipeline.steps.verify` for a product with coordinates of Maven. Reads the finished files only.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from xml.etree import ElementTree as ET

from pipeline.binary.ar import read_archive
from pipeline.documents.codec import decode
from pipeline.errors import FormatError
from pipeline.files import Digest, hash_path, sha256_file
from pipeline.kits import maven as layout
from pipeline.kits.zip import content_at
from pipeline.matrix.cells import Maven
from pipeline.nearest import listed
from pipeline.platforms import ANDROID_ABIS

from .layouts import shared_problems
from .report import Check, counted, failed, settled
from .subject import Library

_LARGEST = 1 << 24


@dataclass(frozen=True)
class Aar:
    """An AAR and what went into it.

    Attributes:
        libraries: the proven archive of every ABI.
        runtime: names of libraries that have the TVM runtime.
        bundles: path below the assets -> digest of that file.
    """

    folder: Path
    product: str
    maven: Maven
    libraries: tuple[Library, ...]
    runtime: tuple[str, ...]
    bundles: Mapping[str, Digest]
    scratch: Path


def check_aar(aar: Aar) -> Iterator[Check]:
    """Ask about the repository, the metadata in the AAR, its libraries, and the assets where it has any.

    Yields:
        `maven`, `aar`, and `libraries of the AAR`.
    """
    again = f"doit forget aar:{aar.product} && doit aar:{aar.product}"
    yield settled("maven", list(_repository(aar)), "POM, metadata and checksums agree", again)
    path = aar.folder / f"{layout.base(aar.maven)}.aar"
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as opened:
            entries = {one.filename: one for one in opened.infolist()}
            problems = [*_shape(opened, entries), *_metadata(aar, opened, entries), *_assets(aar, opened, entries)]
            saw = f"{counted(len(entries), 'entry')[:-1] + 'ies' if len(entries) != 1 else '1 entry'}, whole"
            yield settled("aar", problems, saw, again)
            problems = [*_libraries(aar, opened, entries, file)]
            count = counted(len(aar.libraries), "shared object")
            yield settled("libraries of the AAR", problems, f"{count} of the proven objects, 16 KiB pages", again)
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, NotImplementedError, EOFError, FormatError) as error:
        yield failed("aar", f"{path.name} cannot be read: {type(error).__name__}: {error}", again)


def _repository(aar: Aar) -> Iterator[str]:
    """What is wrong with the files around the AAR."""
    base, folder = layout.base(aar.maven), layout.artifact_folder(aar.maven)
    metadata = f"{folder}/maven-metadata.xml"
    for path in (f"{base}.aar", f"{base}.pom", metadata):
        for kind in layout.CHECKSUMS:
            file = aar.folder / f"{path}.{kind}"
            whole = file.is_file() and (aar.folder / path).is_file()
            if not whole or file.read_text(encoding="ascii") != hash_path(aar.folder / path, kind):
                yield f"{path}.{kind} is not the digest of {path}"
    wanted = {"groupId": aar.maven.group, "artifactId": aar.maven.artifact}
    yield from _unlike(aar.folder / f"{base}.pom", {**wanted, "version": aar.maven.version, "packaging": "aar"})
    yield from _unlike(aar.folder / metadata, {**wanted, "versioning/release": aar.maven.version})


def _unlike(file: Path, wanted: Mapping[str, str]) -> Iterator[str]:
    """Elements of one of our XML files that say something else."""
    try:
        root = ET.fromstring(file.read_bytes())  # noqa: S314 - our own file
    except (OSError, ET.ParseError) as error:
        yield f"{file.name} cannot be read: {error}"
        return
    for path, value in wanted.items():
        found = root.findtext("/".join(f"{{*}}{part}" for part in path.split("/")))
        if found != value:
            yield f"{path} in {file.name} is {found!r}, not {value!r}"


def _shape(opened: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo]) -> Iterator[str]:
    """What is wrong with the zip as such."""
    if len(entries) != len(opened.infolist()):
        yield "two entries have one name"
    yield from (f"{name} leads outside" for name in entries if name.startswith("/") or ".." in name.split("/"))
    wanted = ("AndroidManifest.xml", "classes.jar", "R.txt", layout.METADATA)
    yield from (f"{name} is not in it" for name in wanted if name not in entries)
    if "classes.jar" in entries:
        with opened.open("classes.jar") as jar, zipfile.ZipFile(jar) as classes:
            if (damaged := classes.testzip()) is not None:
                yield f"{damaged} in classes.jar is damaged"


def _metadata(aar: Aar, opened: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo]) -> Iterator[str]:
    """What Gradle and prefab read."""
    try:
        root = ET.fromstring(_read(opened, "AndroidManifest.xml"))  # noqa: S314 - our own file
        if root.get("package") != layout.package(aar.maven):
            yield f"the package in AndroidManifest.xml is {root.get('package')!r}"
    except ET.ParseError as error:
        yield f"AndroidManifest.xml cannot be read: {error}"
    module = layout.module_folder(aar.product)
    documents = {
        "prefab/prefab.json": layout.prefab_json(aar.maven),
        f"{module}/module.json": layout.module_json(aar.product),
    }
    for name, document in documents.items():
        if name not in entries or json.loads(_read(opened, name)) != document:
            yield f"{name} does not say {json.dumps(document)}"
    found = {name.split("/")[4] for name in entries if name.startswith(f"{module}/libs/")}
    if found != (abis := {f"android.{abi}" for abi in _abis(aar)}):
        yield f"prefab has libraries for {listed(sorted(found)) or 'nothing'}, not for {listed(sorted(abis))}"
    for abi in _abis(aar):
        text = _read(opened, f"{module}/libs/android.{abi}/abi.json")
        about: layout.AbiJson = decode(layout.AbiJson, json.loads(text), f"abi.json of {abi}")
        if about != layout.AbiJson(abi, about.api, about.ndk):
            yield f"abi.json of {abi} says {json.dumps(json.loads(text))}"


def _libraries(
    aar: Aar, opened: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], file: BinaryIO
) -> Iterator[str]:
    """The shared libraries: what is in them, and where in the zip they begin."""
    places = layout.places(aar.product, _abis(aar))
    wanted = {name for both in places.values() for name in both}
    strange = [name for name in entries if name.endswith(".so") and name not in wanted]
    yield from (f"{name} is of no backend" for name in strange)
    for library in aar.libraries:
        shipped, linked = places[ANDROID_ABIS[library.backend.arch]]
        if opened.read(shipped) != opened.read(linked):
            yield f"{shipped} and {linked} differ"
        with tempfile.TemporaryDirectory(dir=aar.scratch) as folder:
            path = Path(folder, layout.library(aar.product))
            path.write_bytes(opened.read(shipped))
            objects = [member.data for member in read_archive(library.path.read_bytes())]
            try:
                yield from (f"{shipped} {what}" for what in shared_problems(path, library, objects, aar.runtime))
            except FormatError as error:
                yield f"{shipped} cannot be read: {error.what}"
        for name in (shipped, linked):
            if entries[name].compress_type != zipfile.ZIP_STORED:
                yield f"{name} is compressed, and devices map it from the zip"
            elif (at := content_at(file, entries[name])) % layout.PAGE:
                yield f"{name} begins at byte {at}, which is no page of 16 KiB"


def _assets(aar: Aar, opened: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo]) -> Iterator[str]:
    """Whether the bundles are in the AAR or in the asset pack, wherever they are wanted, and nowhere else."""
    inside = aar.bundles if aar.maven.assets == "yes" else {}
    found = {name.removeprefix("assets/") for name in entries if name.startswith("assets/")}
    yield from (f"assets/{name} is of no bundle" for name in sorted(found - inside.keys()))
    for name, wanted in inside.items():
        if name not in found or _asset(opened, f"assets/{name}") != wanted:
            yield f"assets/{name} is not what the bundle has"
    if aar.maven.assets == "play-asset-pack":
        folder = aar.folder / layout.ASSET_PACK / layout.pack(aar.product)
        assets = folder / "src/main/assets"
        there = {path.relative_to(assets).as_posix() for path in assets.rglob("*") if path.is_file()}
        if there != set(aar.bundles):
            yield f"the asset pack lacks or has too much: {listed(sorted(there ^ set(aar.bundles)))}"
        if not (folder / "build.gradle").is_file():
            yield "the asset pack has no build.gradle"


def _asset(opened: zipfile.ZipFile, name: str) -> Digest:
    with opened.open(name) as entry:
        return Digest(sha256_file(entry), opened.getinfo(name).file_size)


def _read(opened: zipfile.ZipFile, name: str) -> bytes:
    """A small entry, whole."""
    if opened.getinfo(name).file_size > _LARGEST:
        raise zipfile.BadZipFile(f"{name} is larger than anything of its kind")
    return opened.read(name)


def _abis(aar: Aar) -> list[str]:
    return [ANDROID_ABIS[library.backend.arch] for library in aar.libraries]
