"""Where things are in an Android library (AAR) and in a Maven repository. `aar` writes them, its proof reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.matrix.cells import Maven

from .bindings import java_package
from .escaping import identifier

REPOSITORY = "maven"
"""Directory of a product that is a Maven repository."""

ASSET_PACK = "play-asset-pack"
METADATA = "META-INF/com/android/build/gradle/aar-metadata.properties"
CHECKSUMS = ("sha1", "sha256")
"""Of each file, beside it: nothing but its digits."""

PAGE = 16384
"""What the content of a shared library is aligned to in a zip: devices map it from there, in pages of this size."""

PREFAB = 2
"""Version of the format of prefab's metadata: what the Android Gradle plugin has read since 7.1."""

_CMAKE_VERSION = re.compile(r"[0-9]+(\.[0-9]+){0,3}")


def base(maven: Maven) -> str:
    """The path of a version's files, without their ends."""
    return f"{artifact_folder(maven)}/{maven.version}/{maven.artifact}-{maven.version}"


def artifact_folder(maven: Maven) -> str:
    """The directory of an artifact."""
    return f"{REPOSITORY}/{maven.group.replace('.', '/')}/{maven.artifact}"


def package(maven: Maven) -> str:
    """The package of the library in Java: each has one of its own."""
    return ".".join(java_package(part) for part in (*maven.group.split("."), maven.artifact))


def pack(product: str) -> str:
    """The name of a product's asset pack, which must be an identifier that begins with a letter."""
    return f"{identifier(product).strip('_') or 'models'}_bundles"


def library(product: str) -> str:
    """The file name of the shared library, without `lib` and `.so` what `System.loadLibrary` is given."""
    return f"lib{product}.so"


def prefab_json(maven: Maven) -> dict[str, object]:
    """Of the package; its version is left out where CMake would not understand it."""
    version = {"version": maven.version} if _CMAKE_VERSION.fullmatch(maven.version) else {}
    return {"schema_version": PREFAB, "name": maven.artifact, **version, "dependencies": []}


def module_json(product: str) -> dict[str, object]:
    """Of the module: nothing else has to be linked with it."""
    return {"export_libraries": [], "library_name": library(product).removesuffix(".so")}


@dataclass(frozen=True)
class AbiJson:
    """Of one library. Models are C: no STL is in it, and any app may link it."""

    abi: str
    api: int
    ndk: int
    stl: str = "none"
    static: bool = False


def places(product: str, abis: Iterable[str]) -> dict[str, tuple[str, str]]:
    """ABI -> where its shared library is in the AAR: what an app ships, and what CMake links."""
    file = library(product)
    return {one: (f"jni/{one}/{file}", f"{module_folder(product)}/libs/android.{one}/{file}") for one in abis}


def module_folder(product: str) -> str:
    """The directory of prefab's one module."""
    return f"prefab/modules/{product}"
