"""Step `archive`: the objects of all models of one backend become one static archive.

The engine runs it with the outputs of every compile of the backend. `pipeline.binary` merges and writes, so no `ar` is
needed and equal objects give equal bytes on every host. Objects that would only fail in an app's link, or on a user's
device, are refused here, where the model and the backend can still be named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.binary import abi
from pipeline.binary.ar import Member, write_archive
from pipeline.binary.conformance import hint, mismatch
from pipeline.binary.merge import Merged, ModelObjects, merge_objects
from pipeline.binary.object_info import ObjectInfo
from pipeline.binary.objects import read_object
from pipeline.binary.symbols import GENERATIONS, ModelSymbols, defined, find_models, library_bin, undefined
from pipeline.documents.archive import Archive, ArchivedModel
from pipeline.documents.codec import dumps
from pipeline.documents.functions import Functions
from pipeline.errors import StepError
from pipeline.files import sha256_bytes
from pipeline.matrix.cells import Backend, ModelRef


@dataclass(frozen=True)
class Params:
    """What the step is given: the name of the library, what it is for, and the models in it.

    `runtime_version` is the release of TVM whose runtime the app has, where targets.yaml declares it.
    """

    library: str
    backend: Backend
    models: tuple[ModelRef, ...]
    runtime_version: str | None = None


def run(job: Job[Params]) -> Facts:
    """Write `lib<library>.a` and `archive.json`.

    Members are in the order of the models' subjects, so that moving lines in targets.yaml changes nothing.

    Raises:
        StepError: an object that is not for this backend, a model without its blob, or one that the runtime cannot run.
        FormatError: two models collide, or an object is malformed.
    """
    backend = job.params.backend
    models = sorted(job.params.models, key=lambda model: model.subject)
    groups = [read_compiled(job, model) for model in models]
    for group in groups:
        check_objects(group, backend)
    merged = merge_objects(groups)
    infos = {info.name: info for info in merged.infos}
    members = {model: [infos[name] for name in names] for model, names in merged.by_model.items()}
    check_generations(members, job.params.runtime_version)
    found = {model.prefix: model for model in find_models(merged.infos)}
    for group in groups:
        check_blob(group, found)
    library = f"lib{job.params.library}.a"
    data = write_archive(merged.members, merged.flavour, library)
    (job.out / library).write_bytes(data)
    compiled = {model.subject: Functions.read(job.inputs[roles.objects(model.subject)]) for model in models}
    document = Archive(
        library=library,
        backend=backend,
        sha256=sha256_bytes(data),
        size=len(data),
        models=tuple(describe(model, merged, found[model.prefix], compiled[model.subject]) for model in models),
        undefined=tuple(sorted(undefined(merged.infos))),  # what the runtime and the system must have
    )
    job.write(Archive.NAME, dumps(document))
    return {"bytes": len(data), "members": len(merged.members), "models": len(models)}


def read_compiled(job: Job[Params], model: ModelRef) -> ModelObjects:
    """Read the objects that the compile of a model left.

    Raises:
        StepError: no object at all.
    """
    files = job.files(roles.objects(model.subject))
    objects = tuple(Member(name, path.read_bytes()) for name, path in files if name.endswith(".o"))
    if not objects:
        raise StepError(
            f"the compile of {model.subject} left no object",
            hint="a prebuilt model needs its two objects (files that end in .o)",
        )
    return ModelObjects(model.subject, model.prefix, objects)


def check_objects(group: ModelObjects, backend: Backend) -> None:
    """Every object must be for this very backend.

    Raises:
        StepError: naming the member, what it is and what it should be.
    """
    for member in group.objects:
        problem = mismatch(read_object(member.data, f"{member.name} of {group.model}"), backend)
        if problem:
            raise StepError(
                f"backend {backend.name}: {member.name} of {group.model} {problem}", hint=hint(backend, backend.triple)
            )


def check_blob(group: ModelObjects, found: Mapping[str, ModelSymbols]) -> None:
    """The archive must hold the model under its prefix, in the spelling that today's runtimes look for.

    Raises:
        StepError: it does not.
    """
    wanted = library_bin(group.prefix)
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


def describe(model: ModelRef, merged: Merged, found: ModelSymbols, compiled: Functions) -> ArchivedModel:
    """A model's entry in `archive.json`."""
    return ArchivedModel(
        model=model.model,
        variant=model.variant,
        subject=model.subject,
        prefix=model.prefix,
        options=model.options,
        members=tuple(merged.by_model[model.subject]),
        library_bin=library_bin(model.prefix),
        generation=found.generation.name,
        registration=found.registration,
        functions=compiled.functions,
        parameters=compiled.parameters,
        tvm=compiled.tvm,
        tvm_ffi=compiled.tvm_ffi,
    )


def check_generations(members: Mapping[str, Sequence[ObjectInfo]], runtime_version: str | None) -> None:
    """Compare what models, by the objects of each, ask of a runtime: an app would find out at load, or crash.

    Raises:
        StepError: no runtime has what two of them ask for, or the declared one lacks something.
    """
    asked = {model: _asked(infos) for model, infos in members.items()}
    for first, second in combinations(asked, 2):
        if abi.servers(asked[first] | asked[second]).is_empty:
            raise StepError(
                f"no runtime of TVM can serve both {first} and {second}: {first} is of "
                f"{abi.age_of_objects(asked[first])}; {second} is of {abi.age_of_objects(asked[second])}",
                hint="compile both with one TVM, that of the runtime; or get the older one from its maker again",
            )
    if runtime_version is None:
        return
    for model, names in asked.items():
        if missing := abi.lacking(names, runtime_version):
            serving = abi.servers(names)
            other = "" if serving.is_empty else f", or give the app a runtime of {abi.releases(serving)}"
            raise StepError(
                f"{model} does not run on TVM {abi.said(runtime_version)}, the `runtime_version` of targets.yaml: it "
                f"is of {abi.age_of_objects(names)}; and that runtime has no {', no '.join(missing)}",
                hint=f"compile the model with the TVM of the runtime{other}; or correct `runtime_version`",
            )


def _asked(infos: Sequence[ObjectInfo]) -> frozenset[str]:
    """What tells the age of objects: C names that they need, and how the blob among them is spelt."""
    suffixes = [one.blob_suffix for one in GENERATIONS]
    blobs = {suffix for name in defined(infos) for suffix in suffixes if name.endswith(suffix)}
    return frozenset(abi.known(undefined(infos) | blobs))
