"""Step `wasm`: each model of a backend, linked with the runtime into one `.wasm`, as WebLLM and web-runtime load it.

The engine runs it with the archive of the backend and the objects of `wasm_runtime`. A function that neither has must
not pass: see `native.wasm_imports`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.binary.ar import Member, read_archive
from pipeline.binary.object_info import ObjectInfo
from pipeline.binary.objects import read_object
from pipeline.binary.symbols import FUNCTION_PREFIX, GENERATIONS, ModelSymbols, find_models
from pipeline.documents.archive import Archive
from pipeline.documents.codec import dumps
from pipeline.documents.runtime import ModuleFile, Modules, WebRuntimeManifest
from pipeline.errors import StepError
from pipeline.files import sha256_bytes
from pipeline.matrix.cells import Backend
from pipeline.native.emcc import Emscripten
from pipeline.native.wasm_imports import askers, missing

from .wasm_runtime import find_emscripten


@dataclass(frozen=True)
class Params:
    """What the step is given: its backend, and the file name of each model's module by subject."""

    backend: Backend
    models: Mapping[str, str]


def run(job: Job[Params]) -> Facts:
    """Write one module a model, under the name that `params["models"]` says, and `wasm.json`.

    Returns:
        Facts: `modules`, `bytes`.

    Raises:
        StepError: a model does not link, or asks for a function that nobody has.
        ToolMissing: there is no emscripten.
    """
    manifest = WebRuntimeManifest.read(job.inputs[roles.RUNTIME])
    if manifest.lacks is not None:
        job.write(Modules.NAME, dumps(Modules(job.params.backend, (), manifest.lacks)))
        return {"modules": 0, "bytes": 0, "lacks": manifest.lacks}
    emscripten = find_emscripten(job)
    folder = job.inputs[roles.ARCHIVE]
    described = Archive.read(folder)
    members = {member.name: member for member in read_archive((folder / described.library).read_bytes())}
    runtime = [job.inputs[roles.RUNTIME] / one.file for one in manifest.objects]
    modules = []
    with tempfile.TemporaryDirectory(prefix="wasm-", dir=job.out.parent) as scratch:
        for subject, file in job.params.models.items():
            own = described.model(subject)
            out = job.out / file
            link(
                emscripten,
                [members[name] for name in own.members],
                runtime,
                out,
                scratch=Path(scratch),
                prefix=own.prefix,
            )
            data = out.read_bytes()
            modules.append(ModuleFile(subject, file, len(data), sha256_bytes(data)))
            job.services.progress(len(modules), len(job.params.models), "modules")
    job.write(Modules.NAME, dumps(Modules(job.params.backend, tuple(modules))))
    return {"modules": len(modules), "bytes": sum(one.size for one in modules)}


def link(
    emscripten: Emscripten,
    objects: Sequence[Member],
    runtime: Sequence[Path],
    out: Path,
    *,
    scratch: Path,
    prefix: str,
) -> None:
    """Link the objects of one model.

    Raises:
        StepError: it does not link, or something is missing.
    """
    files = [scratch / member.name for member in objects]
    for file, member in zip(files, objects, strict=True):
        file.write_bytes(member.data)
    infos = [read_object(member.data, member.name) for member in objects]
    model = next(found for found in find_models(infos) if found.prefix == prefix)
    alias = scratch / f"{prefix}alias.cc"
    alias.write_text(without_prefix(model), encoding="utf-8")
    emscripten.link([*runtime, *files, alias], out)
    out.chmod(0o644)  # emscripten takes it for a program
    check_imports(out, [*infos, *(read_object(path.read_bytes(), path.name) for path in runtime)])


def check_imports(module: Path, objects: Iterable[ObjectInfo]) -> None:
    """Everything that a module leaves to the page must be something that a page has.

    Raises:
        StepError: it leaves more.
    """
    wanted = missing(read_object(module.read_bytes(), module.name))
    if not wanted:
        return
    objects = tuple(objects)
    about = [f"{one.name} (asked for by {', '.join(askers(one.name, objects)) or one.module})" for one in wanted]
    raise StepError(
        f"{module.name} asks the page for {len(wanted)} functions that no page has: {'; '.join(about[:5])}",
        hint="the checkout in `runtime.source` must be of the TVM (and mlc_llm) that compiled the model: "
        "build/toolchain/*/probe.json names it; a runtime with options of its own may lack what the model calls",
    )


def without_prefix(model: ModelSymbols) -> str:
    """C++ source that registers a model a second time, under no prefix.

    A page has one model to a module and asks for it without a name (`createVirtualMachine`), while the model's symbols
    carry its prefix.
    """
    generation = GENERATIONS[0]
    blob, context = model.prefix + generation.blob_suffix, model.prefix + generation.context_suffix
    functions = [f"{FUNCTION_PREFIX}{model.prefix}{name}" for name in model.functions]
    lines = [
        'extern "C" {',
        "int TVMFFIEnvModRegisterSystemLibSymbol(const char *name, void *symbol);",
        f"extern const char {blob}[];",
        f"extern void *{context};",
        *(f"int {name}(void *self, void *arguments, int count, void *result);" for name in functions),
        "}",
        "__attribute__((constructor)) static void without_prefix(void) {",
        f'  TVMFFIEnvModRegisterSystemLibSymbol("{generation.blob_suffix}", (void *){blob});',
        f'  TVMFFIEnvModRegisterSystemLibSymbol("{generation.context_suffix}", (void *)&{context});',
        *(
            f'  TVMFFIEnvModRegisterSystemLibSymbol("{FUNCTION_PREFIX}{name}", (void *){symbol});'
            for name, symbol in zip(model.functions, functions, strict=True)
        ),
        "}",
    ]
    return "\n".join(lines) + "\n"
