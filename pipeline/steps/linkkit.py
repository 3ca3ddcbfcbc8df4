"""Step `linkkit`: the files with which an app links the models of a product and does not lose them.

`run` calls it with the archive of every backend of the product. Which file comes from which template is the table
`FILES`; what the templates may use is `context`. Must not know how archives are made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.action import Job, Json
from pipeline.kits.kit import Kit, read_kit
from pipeline.kits.link_json import link_document
from pipeline.kits.render import Templates
from pipeline.kits.slices import Slice, version

from .bundle import link

SHARED_HEADER = ("include/{product}.h", "models.h")

FILES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "xcframework": (
        ("{product}.xcconfig", "settings.xcconfig"),
        ("{product}.exported_symbols.txt", "exported_symbols.txt"),
        ("Package.swift", "Package.swift"),
        ("{product}.podspec", "podspec"),
        ("Sources/{product}Kit/{product}_keep.m", "keep.m"),
        ("Sources/{product}Kit/include/{product}.h", "models.h"),
    ),
    "android": (
        ("{product}Config.cmake", "config.cmake"),
        ("{product}.map", "exports.map"),
        ("{product}.gradle", "module.gradle"),
        ("AndroidManifest.xml", "AndroidManifest.xml"),
        SHARED_HEADER,
    ),
    "native": (
        ("{product}Config.cmake", "config.cmake"),
        ("{product}.map", "exports.map"),
        ("rust/Cargo.toml", "Cargo.toml"),
        ("rust/build.rs", "build.rs"),
        ("rust/lib.rs", "lib.rs"),
        SHARED_HEADER,
    ),
    "web": (),
}
"""Kind of product -> (file of the kit, template)."""


def run(job: Job[Any]) -> dict[str, Json]:
    """Write the archives (an xcframework's have a step of their own), modules, the files of `FILES`, and `link.json`.

    Raises:
        StepError: backends that do not go together in one product, or a mistake in a template of the user.
    """
    kit = read_kit(job.params, job.inputs)
    templates = Templates(job.inputs.get("templates"))
    if kit.kind != "xcframework":
        for part in kit.parts:
            for path, data in ((part.path, part.data), *((one.path, one.data) for one in part.runtime)):
                (job.out / path).parent.mkdir(parents=True, exist_ok=True)
                (job.out / path).write_bytes(data)
    for module in kit.modules:
        link(module.source, job.out / module.path)
    values = context(kit)
    for pattern, template in FILES[kit.kind]:
        job.write(pattern.format(product=kit.product), templates.render(template, values))
    text = json.dumps(link_document(kit), indent=1, ensure_ascii=False) + "\n"
    job.write("link.json", text)
    return {"files": len(FILES[kit.kind]) + 1, "models": len(kit.models), "parts": len(kit.parts)}


def context(kit: Kit) -> dict[str, Json]:
    """The variables of every template.

    Returns:
        `product`, `kind`, `library` and `archive` (names); `models` (see `KitModel`) and `parts` (see `Part`);
        `everywhere`, the subjects of the models that all parts hold; `system_libraries` and `frameworks` of all parts;
        `sdks` and `minimums` (of an xcframework: slices by SDK of Xcode, and the oldest system of each platform);
        `abis` (of an Android kit); `opencl`, whether a model runs on it; `runtime`, whether the kit brings one along.
    """
    return {
        "product": kit.product,
        "kind": kit.kind,
        "library": kit.library,
        "archive": kit.archive,
        "models": kit.models,
        "parts": kit.parts,
        "everywhere": kit.everywhere,
        "system_libraries": kit.system_libraries,
        "frameworks": kit.frameworks,
        "sdks": _sdks(kit),
        "minimums": _minimums(kit.slices),
        "abis": [part.directory.removeprefix("lib/") for part in kit.parts] if kit.kind == "android" else [],
        "runtime": any(part.runtime for part in kit.parts),
        "opencl": any(backend["device"]["kind"] == "opencl" for backend in kit.backends),
    }


def _sdks(kit: Kit) -> list[Json]:
    """The SDKs of Xcode, and the slices each may want: one, or two where an SDK builds for Catalyst and for the Mac."""
    found: dict[str, list[Json]] = {}
    for piece, part in zip(kit.slices, kit.parts, strict=False):
        one = {
            "identifier": piece.identifier,
            "platform": piece.platform,
            "backends": [thin.backend for thin in piece.thins],
            "frameworks": part.frameworks,
            "system_libraries": part.system_libraries,
            "runtime": part.runtime,
        }
        found.setdefault(piece.sdk, []).append(one)
    return [{"name": name, "slices": found[name]} for name in sorted(found)]


def _minimums(pieces: tuple[Slice, ...]) -> list[Json]:
    """The oldest system an app may ask for: device and simulator are one system to package managers."""
    oldest: dict[str, str] = {}
    for piece in pieces:
        platform = piece.platform.removesuffix("-simulator")
        if piece.deployment_target is not None:
            oldest[platform] = max(oldest.get(platform, "0"), piece.deployment_target, key=version)
    return [{"platform": platform, "version": oldest[platform]} for platform in sorted(oldest)]
