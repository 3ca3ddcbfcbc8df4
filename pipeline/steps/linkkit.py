"""Step `linkkit`: the files with which an app links the models of a product and does not lose them.

The engine runs it with the archive of every backend of the product. Which file comes from which template is the table
`FILES`; what the templates may use is `context`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.documents.codec import dumps
from pipeline.documents.link_json import LinkJson
from pipeline.errors import StepError
from pipeline.kits.bindings import bound_models, java_package, modules_by_model, namespace, places, room
from pipeline.kits.kit import Kit, read_kit
from pipeline.kits.link_json import METADATA, link_json, system_lib_metadata
from pipeline.kits.render import Templates
from pipeline.kits.runtime import headers
from pipeline.matrix.cells import Backend
from pipeline.platforms import version

NATIVE = (
    ("include/{product}.h", "models.h"),
    ("include/{product}.hpp", "models.hpp"),
    ("src/{product}.cpp", "core.cpp"),
)
"""What C and C++ include, and what every language but the pages' calls models through."""

FILES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "xcframework": (
        ("{product}.xcconfig", "settings.xcconfig"),
        ("{product}.exported_symbols.txt", "exported_symbols.txt"),
        ("Package.swift", "Package.swift"),
        ("{product}.podspec", "podspec"),
        ("Sources/{product}Kit/{product}_keep.m", "keep.m"),
        ("Sources/{product}Kit/{product}.cpp", "core.cpp"),
        ("Sources/{product}Kit/include/{product}.h", "models.h"),
        ("Sources/{product}Kit/include/{product}.hpp", "models.hpp"),
        ("Sources/{product}Kit/include/module.modulemap", "module.modulemap"),
        ("Sources/{product}Models/{product}.swift", "Models.swift"),
    ),
    "android": (
        ("{product}Config.cmake", "config.cmake"),
        ("{product}.map", "exports.map"),
        ("{product}.gradle", "module.gradle"),
        ("AndroidManifest.xml", "AndroidManifest.xml"),
        ("src/{product}_jni.cpp", "jni.cpp"),
        ("java/slipway/{package}/Models.java", "Models.java"),
        *NATIVE,
    ),
    "native": (
        ("{product}Config.cmake", "config.cmake"),
        ("{product}.map", "exports.map"),
        ("rust/Cargo.toml", "Cargo.toml"),
        ("rust/build.rs", "build.rs"),
        ("rust/lib.rs", "lib.rs"),
        *NATIVE,
    ),
    "web": (),
}
"""Kind of product -> (file of the kit, template)."""


PAGES = (
    ("{product}.js", "web.js"),
    ("{product}.d.ts", "web.d.ts"),
    ("package.json", "package.json"),
)
"""The same for a kit with modules for pages."""

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*(?:include|import)[ \t]*["<]([^">\n]+)', re.MULTILINE)


@dataclass(frozen=True)
class Params:
    """What the step is given: the product, the name of its archives, its kind, and the backends in it.

    `overrides` tells whether the user has templates.
    """

    product: str
    library: str
    kind: str
    backends: tuple[Backend, ...]
    overrides: bool = False


def run(job: Job[Params]) -> Facts:
    """Write the archives (an xcframework's have a step of their own), modules, the files of `FILES`, and `link.json`.

    Raises:
        StepError: backends that do not go together in one product, or a mistake in a template of the user.
    """
    params = job.params
    kit = read_kit(params.product, params.library, params.kind, params.backends, job.inputs)
    templates = Templates(job.inputs.get(roles.TEMPLATES))
    if kit.kind != "xcframework":
        for archive in kit.archives:
            for path, data in ((archive.path, archive.data), *((one.path, one.data) for one in archive.runtime)):
                (job.out / path).parent.mkdir(parents=True, exist_ok=True)
                (job.out / path).write_bytes(data)
    for role, path in headers(job.inputs):
        job.adopt(path, job.inputs[role] / path, job.digest_of(role, path))
    for module in kit.modules:
        role, name = roles.modules(module.backend), PurePosixPath(module.file).name
        job.adopt(module.file, job.inputs[role] / name, job.digest_of(role, name))
    values = context(kit)
    files = FILES[kit.kind] if not kit.modules else PAGES
    for pattern, template in files:
        place = pattern.format(product=kit.product, package=java_package(kit.product))
        text = templates.render(template, values)
        _refuse_strangers(place, text, templates.path(template))
        job.write(place, text)
    job.write(LinkJson.NAME, dumps(link_json(kit)))
    if kit.kind == "native":
        job.write(METADATA, dumps(system_lib_metadata(kit)))
    return {"files": len(files) + 1 + (kit.kind == "native"), "models": len(kit.models), "archives": len(kit.archives)}


def _refuse_strangers(place: str, text: str, template: Path) -> None:
    """A kit goes to other machines, and no check would run again when a file outside of it changes."""
    if PurePosixPath(place).suffix not in {".h", ".hpp", ".cpp", ".m"}:
        return
    for included in _INCLUDE.findall(text):
        if posixpath.normpath(posixpath.join(posixpath.dirname(place), included)).startswith(("/", "../")):
            hint = (
                "write what it has into this template, or beside it into a file _name.j2 for {% include '_name.j2' %}"
            )
            raise StepError(f"{place} includes {included}, which is not in the kit", where=template, hint=hint)


def context(kit: Kit) -> dict[str, object]:
    """The variables of every template.

    Returns:
        `product`, `kind`, `library` and `archive` (names); `models` (`ArchivedModel`) and `archives` (`KitArchive`);
        `common_models`, the subjects of the models that all archives hold; `system_libraries` and `frameworks` of all
        archives; `sdks` and `deployment_targets` (of an xcframework: slices by SDK of Xcode, and the oldest system of
        each platform, with its frameworks);
        `callable`, the models with types for every language (see `kits.bindings.Bound`), `room`, for how many results a
        call has room, `places`, where they run,
        `modules_by_model`, of a web kit, `cpp_namespace` and `java_package`, the product in C++ and Java;
        `abis` (of an Android kit); `opencl`, whether a model runs on it; `runtime`, whether the kit brings one along.
    """
    return {
        "product": kit.product,
        "kind": kit.kind,
        "library": kit.library,
        "archive": kit.archive,
        "models": kit.models,
        "archives": kit.archives,
        "callable": bound_models(link_json(kit)),
        "room": room(kit),
        "cpp_namespace": namespace(kit.product),
        "java_package": java_package(kit.product),
        "modules_by_model": modules_by_model(kit),
        "places": places(kit) if kit.kind != "web" else [],
        "common_models": kit.common_models,
        "system_libraries": kit.system_libraries,
        "frameworks": kit.frameworks,
        "sdks": _sdks(kit),
        "deployment_targets": _deployment_targets(kit),
        "abis": [archive.directory.removeprefix("lib/") for archive in kit.archives] if kit.kind == "android" else [],
        "runtime": any(archive.runtime for archive in kit.archives),
        "opencl": any(backend.device_kind == "opencl" for backend in kit.backends),
    }


def _sdks(kit: Kit) -> list[object]:
    """The SDKs of Xcode, and the slices each may want: one, or two where an SDK builds for Catalyst and for the Mac."""
    found: dict[str, list[object]] = {}
    for piece, archive in zip(kit.slices, kit.archives, strict=False):
        one = {
            "identifier": piece.identifier,
            "platform": piece.platform,
            "backends": [one.name for one in piece.backends],
            "frameworks": archive.frameworks,
            "system_libraries": archive.system_libraries,
            "runtime": archive.runtime,
        }
        found.setdefault(piece.apple.sdk, []).append(one)
    return [{"name": name, "slices": found[name]} for name in sorted(found)]


def _deployment_targets(kit: Kit) -> list[object]:
    """The oldest system an app may ask for: device and simulator are one system to package managers."""
    oldest: dict[str, str] = {}
    frameworks: dict[str, set[str]] = {}
    for piece, archive in zip(kit.slices, kit.archives, strict=False):
        platform = piece.platform.removesuffix("-simulator")
        frameworks.setdefault(platform, set()).update(archive.frameworks)
        if piece.deployment_target is not None:
            oldest[platform] = max(oldest.get(platform, "0"), piece.deployment_target, key=version)
    return [
        {"platform": platform, "version": oldest[platform], "frameworks": tuple(sorted(frameworks[platform]))}
        for platform in sorted(oldest)
    ]
