"""Step `archive`: the objects of all models of one backend become one static archive.

`run` calls it with the outputs of every compile of the backend. `pipeline.binary` merges and writes, so no `ar` is
needed and equal objects give equal bytes on every host. Objects that would only fail in an app's link, or on a user's
device, are refused here, where the model and the backend can still be named. Must not know how a model was compiled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.action import Job, Json
from pipeline.binary.ar import Member, write_archive
from pipeline.binary.merge import Merged, ModelObjects, merge_objects
from pipeline.binary.objects import ObjectInfo, read_object
from pipeline.binary.symbols import ModelSymbols, c_name, find_models
from pipeline.errors import StepError
from pipeline.kits import link_flags
from pipeline.kits.slices import version

from .folders import files

ROLE = "objects:"
"""Roles of the inputs are `objects:<subject of the model>`."""

_SPELLINGS = {"aarch64": "arm64", "amd64": "x86_64"}
"""Mach-O says arm64 where ELF says aarch64: one spelling to compare by."""


def run(job: Job[Any]) -> dict[str, Json]:
    """Write `lib<library>.a` and `archive.json`.

    Members are in the order of the models' subjects, so that moving lines in targets.yaml changes nothing.

    Raises:
        StepError: an object that is not for this backend, or a model without its blob.
        FormatError: two models collide, or an object is malformed.
    """
    backend = job.params["backend"]
    models = sorted(job.params["models"], key=lambda model: str(model["subject"]))
    groups = [read_compiled(model, job.inputs[ROLE + model["subject"]]) for model in models]
    for group in groups:
        check_objects(group, backend)
    merged = merge_objects(groups)
    found = {model.prefix: model for model in find_models(merged.infos)}
    for group in groups:
        check_blob(group, found)
    library = f"lib{job.params['library']}.a"
    data = write_archive(merged.members, merged.flavour, library)
    (job.out / library).write_bytes(data)
    signatures = {model["subject"]: _functions(job.inputs[ROLE + model["subject"]]) for model in models}
    document = {
        "library": library,
        "backend": backend,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "models": [describe(model, merged, found[model["prefix"]], signatures[model["subject"]]) for model in models],
        "undefined": undefined(merged.infos),
    }
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    job.write("archive.json", text)
    return {"bytes": len(data), "members": len(merged.members), "models": len(models)}


def read_compiled(model: Mapping[str, Json], folder: Path) -> ModelObjects:
    """Read the objects that a compile left in `folder`.

    Raises:
        StepError: no object at all, or AppleDouble files (`._*`), which macOS's tar makes of extended attributes.
    """
    objects = tuple(Member(name, path.read_bytes()) for name, path in files(folder) if name.endswith(".o"))
    for member in objects:
        if member.name.rpartition("/")[2].startswith("._"):
            raise StepError(
                f"{member.name} of {model['subject']} is an AppleDouble file: macOS made it of extended attributes",
                hint="pack the objects again with COPYFILE_DISABLE=1 in the environment, then rebuild the model",
            )
    if not objects:
        raise StepError(
            f"the compile of {model['subject']} left no object",
            hint="a prebuilt model needs its two objects (files that end in .o)",
        )
    return ModelObjects(model["subject"], model["prefix"], objects)


def check_objects(group: ModelObjects, backend: Mapping[str, Json]) -> None:
    """Every object must be for this very backend.

    Linkers do not ask: `ld64.lld` takes device objects into a simulator's library and objects without a platform
    anywhere, and only warns of a minimum version that is too new. Xcode refuses them later, on somebody else's machine.

    Raises:
        StepError: naming the member, what it is and what it should be.
    """
    for member in group.objects:
        problem = misfit(read_object(member.data, f"{member.name} of {group.model}"), backend)
        if problem:
            raise StepError(f"backend {backend['name']}: {member.name} of {group.model} {problem}", hint=_hint(backend))


def misfit(info: ObjectInfo, backend: Mapping[str, Json]) -> str | None:
    """What keeps an object out of this backend's archive, as the end of a sentence; None when it fits."""
    checks: list[tuple[str, Json, Json]] = [
        ("of kind", info.kind, "object"),
        ("of format", info.format, backend["format"]),
        ("for architecture", _spelling(info.arch), _spelling(backend["arch"])),
    ]
    if info.format == "macho":
        if info.platform is None:
            return f"names no platform (it has no LC_BUILD_VERSION), and should name {backend['platform']}"
        checks.append(("for platform", info.platform, backend["platform"]))
        checks.append(("for systems from", _system(info.minimum_os), _system(backend["deployment_target"])))
    return next(
        (f"is {what} {saw}, and should be {what} {wanted}" for what, saw, wanted in checks if saw != wanted), None
    )


def check_blob(group: ModelObjects, found: Mapping[str, ModelSymbols]) -> None:
    """The archive must hold the model under its prefix, in the spelling that today's runtimes look for.

    Raises:
        StepError: it does not.
    """
    wanted = link_flags.library_bin(group.prefix)
    model = found.get(group.prefix)
    if model is None:
        others = ", ".join(repr(prefix) for prefix in sorted(found)) or "none"
        raise StepError(
            f"no object of {group.model} defines {wanted}: an app would not find the model (prefixes found: {others})",
            hint="compile it with system_lib and this prefix; a prebuilt model needs the `prefix` it was built with",
        )
    if not model.library_bin.endswith(wanted):
        raise StepError(
            f"{group.model} was compiled by a TVM of generation {model.generation.name}: "
            f"its blob is {model.library_bin}, and runtimes of today look for {wanted}",
            hint="compile it again with the TVM whose runtime the app links",
        )


def describe(model: Mapping[str, Json], merged: Merged, found: ModelSymbols, functions: Json) -> Json:
    """A model's entry in `archive.json`. Symbols are spelt as in C, without the underscore of Mach-O."""
    return {
        **model,
        "members": list(merged.by_model[model["subject"]]),
        "library_bin": link_flags.library_bin(model["prefix"]),
        "generation": found.generation.name,
        "registration": found.registration,
        "functions": functions,
    }


def undefined(infos: Iterable[ObjectInfo]) -> list[str]:
    """C names that the archive needs and does not have, sorted: the runtime and the system must."""
    infos = tuple(infos)
    defined = {c_name(symbol.name, info.format) for info in infos for symbol in info.defined}
    wanted = {c_name(symbol.name, info.format) for info in infos for symbol in info.undefined}
    return sorted(wanted - defined)


def _functions(folder: Path) -> Json:
    return json.loads((folder / "functions.json").read_text(encoding="utf-8"))["functions"]


def _spelling(arch: str) -> str:
    return _SPELLINGS.get(arch.lower(), arch.lower())


def _system(text: str | None) -> str | None:
    """A version as people write it, with two numbers at least: `14`, `14.0` and `14.0.0` are equal."""
    if text is None:
        return None
    numbers = [*version(text), 0, 0]
    return ".".join(str(number) for number in numbers[: max(2, len(numbers) - 2)])


def _hint(backend: Mapping[str, Json]) -> str:
    if backend["format"] == "macho":
        return (
            f"its triple is {backend['triple']}, which must carry the deployment target (arm64-apple-ios14.0, "
            "…-simulator, …-macabi); a prebuilt model must bring objects for that very system"
        )
    return f"compile for its triple, {backend['triple']}; a prebuilt model must bring objects for it"
