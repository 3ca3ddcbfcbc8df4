"""Step `verify`: proves an archive, or a product made of archives, and says what was seen.

The engine runs it after `archive`, `linkkit` and `xcframework`. It chooses the questions; each is asked by a module of
`pipeline.proofs`. A wrong answer raises, an answer this machine cannot give is said aloud (and raises when strict).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.binary.symbols import CONSTRUCTORS_PER_MODEL
from pipeline.documents.archive import Archive
from pipeline.documents.codec import dumps
from pipeline.documents.functions import Function
from pipeline.documents.parameters import INDEX, Parameters
from pipeline.documents.report import Check, Report
from pipeline.documents.run import Run
from pipeline.files import Digest
from pipeline.files.sharing import show
from pipeline.kits.link_flags import RUNTIME_LIBRARIES
from pipeline.matrix.cells import Backend, Maven, ModelRef
from pipeline.native import wheel
from pipeline.nearest import listed
from pipeline.proofs.aars import Aar, check_aar
from pipeline.proofs.closure import (
    check_closure,
    check_declared,
    check_shipped,
    offered_symbols,
    read_shipped,
    runtime_symbols,
)
from pipeline.proofs.constructors import check_constructors
from pipeline.proofs.kits import check_kit, check_podspec, check_settings
from pipeline.proofs.links import full_flags, is_native, linker_for, missing_linker
from pipeline.proofs.members import check_imports, check_members, check_pages, check_symbols
from pipeline.proofs.parameters import BY_NAME, by_place, check_library, check_parameters, equal_words
from pipeline.proofs.report import counted, facts, not_proven, open_summary, proven, settle
from pipeline.proofs.subject import Kit, Library, read_library
from pipeline.proofs.system_symbols import system_symbols
from pipeline.proofs.xcframework import check_plist, check_slices, check_zip
from pipeline.runners.check import run_line, seen
from pipeline.weights import checkpoint

P = TypeVar("P")


@dataclass(frozen=True)
class BackendProof:
    """What is to be proven of a backend's archive.

    Attributes:
        toolchain: whose runtime it is held against.
        host: whether every model of it should be run here.
        artifact: what there is nothing of to run, and how there would be.
        runtime_version: the release of TVM whose runtime apps have, where targets.yaml says so.
        sharing: variant that is not compiled -> the model whose library it uses.
    """

    backend: Backend
    models: tuple[ModelRef, ...]
    library: str
    toolchain: str = "current"
    host: bool = False
    artifact: str | None = None
    runtime_version: str | None = None
    sharing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ProductProof:
    """What is to be proven of a product: its name, kind, name of the library, the backends in it, and of its AAR."""

    product: str
    product_kind: str
    library: str
    backends: tuple[Backend, ...]
    maven: Maven | None = None
    runtime_libraries: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """All that was seen of a subject.

    Attributes:
        summary: a line for what ships, without times, which never repeat.
        models: a line of each model that has its own, for the table.
        timed: the summary with times, for the table.
    """

    checks: list[Check]
    summary: str
    models: Mapping[str, str] = field(default_factory=dict)
    timed: str | None = None


def run_backend(job: Job[BackendProof]) -> Facts:
    """Prove the archive of a backend; see `prove`."""
    return prove(job, job.params.backend.name, prove_backend)


def run_product(job: Job[ProductProof]) -> Facts:
    """Prove a product; see `prove`."""
    return prove(job, job.params.product, prove_product)


def prove(job: Job[P], subject: str, ask: Callable[[Job[P], Path], Findings]) -> Facts:
    """Write `report.json`.

    Returns:
        `{"proven": a line for the summary, "models": {subject: the line of that model, where it is another},
        "checks": n, "not_proven": n, "states": {name: state}}`.

    Raises:
        VerifyError: a check failed, or could not be made where that is an error. All of the report is in the log then.
        FormatError: an archive that cannot be read at all.
    """
    with tempfile.TemporaryDirectory(prefix="verify-", dir=job.out.parent) as folder:
        found = ask(job, Path(folder).resolve())
    settle(subject, found.checks, strict=job.services.strict, log=job.log)
    job.write(Report.NAME, dumps(Report(subject, tuple(found.checks), found.summary)))
    return facts(found.checks, found.timed or found.summary, found.models)


def prove_backend(job: Job[BackendProof], scratch: Path) -> Findings:
    """Ask everything about the archive of a backend: members, symbols, closure, links, and its runs."""
    params, folder, backend = job.params, job.inputs[roles.ARCHIVE], job.params.backend
    library = read_library(folder / f"lib{params.library}.a", backend, params.models)
    runtime = wheel.libraries(wheel.ask(job, params.toolchain))
    checks = [check_members(library), check_symbols(library), check_closure(library, runtime, params.runtime_version)]
    if roles.RUNTIME in job.inputs:
        shipped = read_shipped(job.inputs[roles.RUNTIME])
        checks.append(check_shipped(library, shipped))
        checks += [check_declared(shipped, params.runtime_version)] if params.runtime_version is not None else []
    runs = _runs(job)
    ran = {one.model for one in runs.values() if one.lacks is None}
    described = Archive.read(folder)
    fitting, notes = _prove_parameters(job, library, described, ran)
    checks += fitting
    checks += (linked := _prove_links(job, library, runtime, scratch)).checks
    by_model = {one.subject: [run for run in runs.values() if run.model == one.subject] for one in library.models}
    checks += [check for model, made in by_model.items() if made or params.host for check in _numbers(model, made)]
    for model, made in by_model.items():
        if rest := listed(_uncalled(described.model(model).functions, made)):
            checks.append(
                not_proven(f"functions of {model}", f"no check calls {rest}", "let the model's `check` call it")
            )
            notes[model] = "; ".join(filter(None, (notes.get(model), f"not checked: {rest}")))
    found = _ran(params, linked, runs)
    lines = {subject: found.models.get(subject, found.summary) for subject in notes}
    noted = {subject: f"{lines[subject]}; {note}" for subject, note in notes.items()}
    return replace(found, checks=checks, models={**found.models, **noted})


def _ran(params: BackendProof, linked: Findings, runs: Mapping[str, Run]) -> Findings:
    """What runs, or their lack, add to what links have shown; without checks."""
    proven = all(one.state == "proven" for one in linked.checks)
    idle = linked.summary + (f"; not run{_why_not(params)}" if proven else "")
    if not runs:
        return Findings([], idle)
    models = {one.subject: idle for one in params.models}
    for model in {run.model for run in runs.values()}:
        models[model] = run_line([run for run in runs.values() if run.model == model], linked.summary)
    summary, timed = (run_line([*runs.values()], linked.summary, times=times) for times in (False, True))
    return Findings([], summary, models, timed)


def _runs(job: Job[P]) -> dict[str, Run]:
    return {subject: Run.read(path) for subject, path in roles.all_of(roles.CHECK, job.inputs)}


def _prove_parameters(
    job: Job[BackendProof], library: Library, described: Archive, ran: Collection[str]
) -> tuple[list[Check], dict[str, str]]:
    """Compare each model's parameters with its functions; and what the table should say of a model's parameters.

    Two parameters that changed places are seen by their names, or else by the numbers of a model that `ran`.
    """
    checks, notes = [], {}
    owners = {model.subject: model.subject for model in library.models}
    for subject, owner in {**owners, **job.params.sharing}.items():
        folder, taken = job.inputs.get(roles.of(roles.PARAMS, subject)), described.model(owner).parameters
        if folder is not None and taken is not None and (folder / INDEX).is_file():
            checks.append(check_library(subject, taken, checkpoint.parameters(folder / INDEX)))
    for model in library.models:
        folder = job.inputs.get(roles.of(roles.PARAMS, model.subject))
        if folder is None or not (folder / Parameters.NAME).is_file():
            continue  # weights that an app brings itself, or of a kind that only the app knows
        held = Parameters.read(folder)
        functions = described.model(model.subject).functions
        check = check_parameters(model.subject, functions, held)
        checks += [check] if check is not None else []
        note, unseen = by_place(functions) or (None, None)
        if unseen is not None and model.subject not in ran:
            checks.append(not_proven(f"order of the parameters of {model.subject}", unseen, BY_NAME))
        if said := "; ".join(filter(None, (note, equal_words(held)))):
            notes[model.subject] = said
    return checks, notes


def _prove_links(job: Job[BackendProof], library: Library, runtime: Mapping[str, str], scratch: Path) -> Findings:
    backend, name = library.backend, "constructors"
    linker = linker_for(backend, job.tools)
    if linker is None:
        check = not_proven(name, *missing_linker(backend))
        return Findings([check], open_summary(check))
    known = runtime_symbols(runtime)
    check, linked = check_constructors(
        library,
        linker,
        full_flags(backend, library.path, library.prefixes),
        offered=offered_symbols(library, known),
        scratch=scratch,
        log=job.log,
    )
    checks = [check]
    if linked is not None and backend.platform == "android":
        checks.append(check_pages(linked))
    if linked is not None and backend.format == "wasm" and known:
        checks.append(check_imports(linked, known | system_symbols(backend.platform)))
    count = CONSTRUCTORS_PER_MODEL * len(library.models)
    saw = f"linked, {count}/{count} constructors; negative control passed"
    return Findings(checks, saw if all(one.state == "proven" for one in checks) else "failed")


def _numbers(subject: str, runs: Sequence[Run]) -> Iterator[Check]:
    """What is known of a model's numbers. Wrong ones are the failure of the `check` that found them.

    That a runner is not made for a model is no gap where another has run it.
    """
    if not runs:
        yield not_proven(f"numbers of {subject}", "recipe has no check", "name a `check` for the model in targets.yaml")
    ran = any(run.lacks is None for run in runs)
    for number, run in enumerate(runs):
        name = f"numbers of {subject}" + (f" ({run.runner})" if number else "")
        if run.lacks is None:
            yield proven(name, seen(run))
        elif not (ran and run.unsuited):
            yield not_proven(name, f"not run by {run.runner}: {run.lacks}", run.hint or "install it")


def _uncalled(functions: Sequence[Function], runs: Sequence[Run]) -> list[str]:
    """The functions that no run has called; none where there was no run, which is told of the whole model."""
    called = {name for run in runs if run.measured is not None for name in run.measured.calls}
    return [one.name for one in functions if called and one.name not in called]


def _why_not(params: BackendProof) -> str:
    """Why no model of a backend was run, in brackets; nothing where one could be."""
    if params.artifact is not None:
        return f" ({params.artifact})"
    return "" if is_native(params.backend) else f" (no {params.backend.platform} {params.backend.arch} here)"


def prove_product(job: Job[ProductProof], scratch: Path) -> Findings:
    """Ask everything about what an app is given: the bytes in it, its rules, and its own flags."""
    product, kind = job.params.product, job.params.product_kind
    libraries = tuple(product_library(job, backend) for backend in job.params.backends)
    folder = _as_shipped(job, product, scratch)
    kit = Kit(product, folder, libraries, job.tools, scratch, job.log)
    checks, archives = check_kit(kit)
    if kind == "xcframework":
        bundle = folder / f"{product}.xcframework"
        check, slices = check_plist(bundle, product)
        checks += [check, check_slices(bundle, slices, list(libraries), product)]
        for beside in sorted({one.name for archive in archives for one in archive.runtime}):
            check, _ = check_plist(folder / f"{beside}.xcframework", product)
            checks.append(replace(check, name=f"Info.plist of {beside}"))
        checks += [*check_settings(kit, archives, slices), *check_podspec(kit, slices)]
        checks.append(check_zip(folder / f"{bundle.name}.zip", bundle, product))
    if job.params.maven is not None:
        digests = bundle_digests(job)
        bundles = {f"{model}/{name}": one for model, files in digests.items() for name, one in files.items()}
        linked = job.params.runtime_libraries or RUNTIME_LIBRARIES
        checks += check_aar(Aar(job.inputs[roles.AAR], product, job.params.maven, libraries, linked, bundles, scratch))
    runs = _runs(job)
    numbers = [check for subject, run in runs.items() for check in _numbers(subject, [run])]
    open_ = [one for one in checks if one.state == "not proven"]
    if open_:
        return Findings([*checks, *numbers], open_summary(open_[0]))
    links = sum(one.name.startswith(("link.json for", "xcconfig for", "podspec for")) for one in checks)
    saw = f"{counted(len(libraries), 'archive')} as proven; {counted(links, 'link')} with its own flags"
    line = f"{saw}, negative controls passed" + ("; AAR as proven" if job.params.maven is not None else "")
    summary, timed = (run_line([*runs.values()], line, times=times) if runs else line for times in (False, True))
    return Findings([*checks, *numbers], summary, timed=timed)


def bundle_digests(job: Job[P]) -> dict[str, dict[str, Digest]]:
    """Subject -> file of its bundle -> digest, which the key has."""
    return {
        subject: {name: job.digest_of(roles.bundle(subject), name) for name, _ in job.files(roles.bundle(subject))}
        for subject, _ in roles.all_of("bundle", job.inputs)
    }


def product_library(job: Job[P], backend: Backend) -> Library:
    """The proven archive of a backend of a product."""
    folder = job.inputs[roles.archive(backend.name)]
    described = Archive.read(folder)
    return read_library(folder / described.library, backend, described.models)


def _as_shipped(job: Job[ProductProof], product: str, scratch: Path) -> Path:
    """The product's folder as under `dist/`, where several actions put their outputs side by side."""
    folder = scratch / product
    folder.mkdir()
    for role in (roles.KIT, roles.XCFRAMEWORK):
        for path in sorted(job.inputs[role].iterdir()) if role in job.inputs else ():
            link = folder / path.name
            if not link.exists():
                show(path.resolve(), link)
    return folder
