"""Step `aar`: an Android library (AAR) with the models of a product for all of its ABIs, as in a Maven repository.

The engine runs it with the archives of the product's backends. In the AAR are a shared library for each ABI, for the
app and for CMake (prefab), and a manifest; there is no Java in it. Its bytes depend on nothing but those.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.binary.ar import read_archive
from pipeline.documents.codec import dumps
from pipeline.files import hash_path
from pipeline.kits import maven as layout
from pipeline.kits.kit import Kit, read_kit
from pipeline.kits.render import Templates
from pipeline.kits.zip import write_entries
from pipeline.matrix.cells import Backend, Maven
from pipeline.native.settings import ANDROID_API
from pipeline.platforms import ANDROID_ABIS

from .shared_library import NDK, Models, link_shared

_NDK = 27
"""What prefab is told where there was no NDK: that its libraries have no STL is all that it compares."""

_METADATA = "aarFormatVersion=1.0\naarMetadataVersion=1.0\nminCompileSdk=1\nminAndroidGradlePluginVersion=1.0.0\n"


@dataclass(frozen=True)
class Params:
    """What the step is given: the product, the name of its archives, the backends in it, and what the AAR is called.

    `runtime_libraries` have the TVM runtime on the device, where targets.yaml says so.
    """

    product: str
    library: str
    backends: tuple[Backend, ...]
    maven: Maven
    runtime_libraries: tuple[str, ...] | None = None


def run(job: Job[Params]) -> Facts:
    """Write `maven/…`, and `play-asset-pack/…` where that is wanted.

    Raises:
        StepError: a library cannot be linked.
        ToolMissing: there is no linker.
    """
    params = job.params
    kit = read_kit(params.product, params.library, "android", params.backends, job.inputs)
    values = {
        "product": kit.product,
        "maven": params.maven,
        "package": layout.package(params.maven),
        "models": kit.models,
        "api": ANDROID_API,
        "pack": layout.pack(kit.product),
        "opencl": any(backend.device_kind == "opencl" for backend in kit.backends),
    }
    templates = Templates(job.inputs.get(roles.TEMPLATES))
    entries = _entries(job, kit, templates.render("aar_manifest.xml", values), templates.render("aar_models.h", values))
    bundles = {
        f"{subject}/{name}": (roles.bundle(subject), name, path)
        for subject, _ in sorted(roles.all_of("bundle", job.inputs))
        for name, path in job.files(roles.bundle(subject))
    }
    if params.maven.assets == "yes":
        entries |= {f"assets/{place}": file for place, (_, _, file) in bundles.items()}
    elif params.maven.assets == "play-asset-pack":
        folder = f"{layout.ASSET_PACK}/{layout.pack(kit.product)}"
        job.write(f"{folder}/build.gradle", templates.render("asset_pack.gradle", values))
        for place, (role, name, file) in bundles.items():
            job.adopt(f"{folder}/src/main/assets/{place}", file, job.digest_of(role, name))
    base = layout.base(params.maven)
    aar = job.out / f"{base}.aar"
    aar.parent.mkdir(parents=True)
    write_entries(aar, entries, aligned={".so": layout.PAGE})
    job.write(f"{base}.pom", templates.render("pom.xml", values))
    metadata = f"{layout.artifact_folder(params.maven)}/maven-metadata.xml"
    job.write(metadata, templates.render("maven-metadata.xml", values))
    for path in (f"{base}.aar", f"{base}.pom", metadata):
        for kind in layout.CHECKSUMS:
            job.write(f"{path}.{kind}", hash_path(job.out / path, kind))
    return {"abis": len(kit.archives), "entries": len(entries), "bytes": aar.stat().st_size}


def _entries(job: Job[Params], kit: Kit, manifest: str, header: str) -> dict[str, bytes | Path]:
    """Everything in the AAR but assets."""
    module, ndk = layout.module_folder(kit.product), job.tools.get(NDK)
    documents: Mapping[str, object] = {
        "prefab/prefab.json": layout.prefab_json(job.params.maven),
        f"{module}/module.json": layout.module_json(kit.product),
    }
    entries: dict[str, bytes | Path] = {
        "AndroidManifest.xml": manifest.encode(),
        "classes.jar": _empty_jar(),
        "R.txt": b"",
        layout.METADATA: _METADATA.encode(),
        f"{module}/include/{kit.product}_models.h": header.encode(),
        **{name: dumps(document).encode() for name, document in documents.items()},
    }
    for archive in kit.archives:
        abi = ANDROID_ABIS[archive.architectures[0]]
        shipped, linked = layout.places(kit.product, [abi])[abi]
        prefixes, objects = tuple(model.prefix for model in archive.models), read_archive(archive.data)
        name, runtime = layout.library(kit.product), job.params.runtime_libraries
        models = Models(name, archive.backends[0], prefixes, objects, runtime)
        entries[shipped] = entries[linked] = link_shared(models, job.tools, job.out.parent, job.log)
        about = layout.AbiJson(abi, ANDROID_API, int(ndk.version.partition(".")[0]) if ndk is not None else _NDK)
        entries[f"{linked.rpartition('/')[0]}/abi.json"] = dumps(about).encode()
    return entries


def _empty_jar() -> bytes:
    """Every AAR has one, and these models bring no classes."""
    jar = io.BytesIO()
    write_entries(jar, {"META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\r\n\r\n"})
    return jar.getvalue()
