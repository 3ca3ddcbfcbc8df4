"""Step `verify`: proves an archive, or a product made of archives, and says what was seen.

The engine runs it after `archive`, `linkkit` and `xcframework`. It chooses the questions; each is asked by a module of
`pipeline.proofs`. A wrong answer raises, an answer this machine cannot give is said aloud (and raises when strict).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.binary.symbols import CONSTRUCTORS_PER_MODEL
from pipeline.documents.archive import read_archive_json
from pipeline.documents.codec import dumps
from pipeline.documents.functions import Function
from pipeline.documents.parameters import read_parameters
from pipeline.documents.report import NAME, Check, Report
from pipeline.documents.verdict import Verdict
from pipeline.errors import StepError
from pipeline.matrix.cells import Backend, ModelRef
from pipeline.proofs.closure import check_closure, offered_symbols, runtime_symbols
from pipeline.proofs.constructors import check_constructors
from pipeline.proofs.host import Trial, check_numbers, link_runnable
from pipeline.proofs.kits import (
    Kit,
    check_archives,
    check_link_json,
    check_podspec,
    check_runtimes,
    check_settings,
)
from pipeline.proofs.links import LINKER_HINTS, Linker, full_flags, is_native, linker_for, missing_linker
from pipeline.proofs.members import check_imports, check_members, check_pages, check_symbols
from pipeline.proofs.modules import check_modules
from pipeline.proofs.parameters import check_parameters, equal_words
from pipeline.proofs.report import counted, facts, failed, not_proven, open_summary, settle
from pipeline.proofs.runtime import find as find_runtime
from pipeline.proofs.shipped import check_shipped, read_shipped
from pipeline.proofs.subject import Library, Model, models_of, read_library
from pipeline.proofs.system_symbols import system_symbols
from pipeline.proofs.xcframework import check_plist, check_slices, check_zip

P = TypeVar("P")


@dataclass(frozen=True)
class BackendProof:
    """What is to be proven of a backend's archive.

    Attributes:
        backend: it is for.
        models: that it must hold.
        library: its name.
        toolchain: whose runtime it is held against.
        host: whether it can run here.
        checks: subject -> name of the function that compares numbers.
        references: subject -> kind of the model's file, where that itself says what the model computes.
    """

    backend: Backend
    models: tuple[ModelRef, ...]
    library: str
    toolchain: str = "current"
    host: bool = False
    checks: Mapping[str, str] = field(default_factory=dict)
    references: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ProductProof:
    """What is to be proven of a product: its name, kind, name of the library, and the backends in it."""

    product: str
    product_kind: str
    library: str
    backends: tuple[Backend, ...]


@dataclass(frozen=True, slots=True)
class Findings:
    """All that was seen of a subject: its checks, a line for the summary, and one for models that have their own."""

    checks: list[Check]
    summary: str
    models: Mapping[str, str] = field(default_factory=dict)


def run_backend(job: Job[BackendProof]) -> Facts:
    """Prove the archive of a backend; see `_prove`."""
    return _prove(job, job.params.backend.name, prove_backend)


def run_product(job: Job[ProductProof]) -> Facts:
    """Prove a product; see `_prove`."""
    return _prove(job, job.params.product, prove_product)


def _prove(job: Job[P], subject: str, prove: Callable[[Job[P], Path], Findings]) -> Facts:
    """Write `report.json`.

    Returns:
        `{"proven": a line for the summary, "models": {subject: the line of that model, where it is another},
        "checks": n, "not_proven": n, "states": {name: state}}`.

    Raises:
        VerifyError: a check failed, or could not be made where that is an error. All of the report is in the log then.
        FormatError: an archive that cannot be read at all.
    """
    with tempfile.TemporaryDirectory(prefix="slipway-verify-") as folder:
        found = prove(job, Path(folder).resolve())
    settle(subject, found.checks, strict=job.services.strict, log=job.log)
    job.write(NAME, dumps(Report(subject, tuple(found.checks), found.summary)))
    return facts(found.checks, found.summary, found.models)


def prove_backend(job: Job[BackendProof], scratch: Path) -> Findings:
    """Ask everything about the archive of a backend: members, symbols, closure, links, and on the host its numbers."""
    params, folder, backend = job.params, job.inputs[roles.ARCHIVE], job.params.backend
    library = read_library(folder / f"lib{params.library}.a", backend, models_of(params.models))
    worker = job.services.worker(params.toolchain)
    runtime = worker.call(partial(find_runtime), log=job.log)
    checks = [check_members(library), check_symbols(library), check_closure(library, runtime)]
    if roles.RUNTIME in job.inputs:
        checks.append(check_shipped(library, read_shipped(job.inputs[roles.RUNTIME])))
    fitting, notes = _prove_parameters(job, library)
    checks += fitting
    checks += (linked := _prove_links(job, library, runtime, scratch)).checks
    summary = linked.summary
    if params.host:
        found = _prove_numbers(job, library, runtime, scratch, summary)
    else:
        if linked.proven:
            summary += "; not run" if is_native(backend) else f"; not run (no {backend.platform} {backend.arch} here)"
        found = Findings([], summary)
    noted = {subject: f"{found.models.get(subject, found.summary)}; {note}" for subject, note in notes.items()}
    return Findings(checks + found.checks, found.summary, {**found.models, **noted})


def _prove_parameters(job: Job[BackendProof], library: Library) -> tuple[list[Check], dict[str, str]]:
    """Compare each model's parameters with its functions; and what the table should say of a model's parameters."""
    checks, notes = [], {}
    described = read_archive_json(job.inputs[roles.ARCHIVE])
    for model in library.models:
        folder = job.inputs.get(roles.of(roles.PARAMS, model.subject))
        if folder is None:
            continue
        held = read_parameters(folder)
        check = check_parameters(model.subject, described.model(model.subject).functions, held)
        checks += [check] if check is not None else []
        if (note := equal_words(held)) is not None:
            notes[model.subject] = note
    return checks, notes


@dataclass(frozen=True, slots=True)
class _Links:
    checks: list[Check]
    summary: str
    proven: bool


def _prove_links(job: Job[BackendProof], library: Library, runtime: Mapping[str, str], scratch: Path) -> _Links:
    backend, name = library.backend, "constructors"
    linker = linker_for(backend, job.tools)
    if linker is None:
        check = not_proven(name, *missing_linker(backend))
        return _Links([check], open_summary(check), proven=False)
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
    proven = all(one.state == "proven" for one in checks)
    return _Links(checks, _linked(len(library.models)) if proven else "failed", proven)


def _linked(models: int) -> str:
    count = CONSTRUCTORS_PER_MODEL * models
    return f"linked, {count}/{count} constructors; negative control passed"


def _prove_numbers(
    job: Job[BackendProof], library: Library, runtime: Mapping[str, str], scratch: Path, summary: str
) -> Findings:
    """Link for real, run every model, compare."""
    compiler = job.tools.get("cc")
    if compiler is None:
        lacks = not_proven("numbers", "no C compiler found to link with", LINKER_HINTS["cc"])
        return Findings([lacks], f"{summary}; not run")
    if len(runtime) < len(("tvm_runtime", "tvm_ffi")):
        hint = "install apache-tvm and apache-tvm-ffi in the toolchain's Python"
        lacks = not_proven("numbers", "the toolchain has no runtime to run with", hint)
        return Findings([lacks], f"{summary}; not run")
    try:
        shared = link_runnable(library, Linker(compiler, driver=True), runtime, scratch / "runnable.so", log=job.log)
    except StepError as error:
        wrong = failed("numbers", f"it does not link with the runtime: {error.what}", error.hint or "see the log")
        return Findings([wrong], "failed")
    trials = [_trial(job, model) for model in library.models]
    worker = job.services.worker(job.params.toolchain)
    checks, worst = check_numbers(shared, trials, worker, log=job.log)
    if not worst:
        return Findings(checks, f"{summary}; not run")
    models = {
        subject: f"run: max error {one.max_abs_error:.1e} (tolerance {one.atol:.1e}); {summary}"
        for subject, one in worst.items()
    }
    models |= {trial.model.subject: f"{summary}; not run" for trial in trials if trial.model.subject not in models}
    return Findings(checks, models[max(worst, key=lambda subject: worst[subject].ratio)], models)


def _trial(job: Job[BackendProof], model: Model) -> Trial:
    """What `run_checks` needs to know of a model."""
    params, inputs = job.params, job.inputs
    check, reference = params.checks.get(model.subject), params.references.get(model.subject)
    if check is None and reference is None:
        return Trial(model, None)
    functions = read_archive_json(inputs[roles.ARCHIVE]).model(model.subject).functions
    given = {role: inputs.get(roles.of(role, model.subject)) for role in ("params", "weights", "check")}
    recipe = given["check"] or inputs[roles.of("source", model.subject)]
    work = partial(
        run_checks,
        model=next(one for one in params.models if one.subject == model.subject),
        functions=functions,
        parameters=given["params"],
        weights=given["weights"],
        recipe=recipe,
        check=check,
        reference=reference,
    )
    return Trial(model, lambda library: partial(work, library=library), reference)


def prove_product(job: Job[ProductProof], scratch: Path) -> Findings:
    """Ask everything about what an app is given: the bytes in it, its rules, and its own flags."""
    product, kind = job.params.product, job.params.product_kind
    libraries = tuple(_product_library(job, backend) for backend in job.params.backends)
    folder = _as_shipped(job, product, scratch)
    kit = Kit(product, folder, libraries, job.tools, scratch, job.log)
    check, archives = check_archives(kit)
    checks = [check, *check_link_json(kit, archives), *check_runtimes(kit, archives), *check_modules(folder, product)]
    if kind == "xcframework":
        bundle = folder / f"{product}.xcframework"
        check, slices = check_plist(bundle, product)
        checks += [check, check_slices(bundle, slices, list(libraries), product)]
        for beside in sorted({one.name for archive in archives for one in archive.runtime}):
            check, _ = check_plist(folder / f"{beside}.xcframework", product)
            checks.append(replace(check, name=f"Info.plist of {beside}"))
        checks += [*check_settings(kit, slices), *check_podspec(kit, slices)]
        checks.append(check_zip(folder / f"{bundle.name}.zip", bundle, product))
    open_ = [one for one in checks if one.state == "not proven"]
    if open_:
        return Findings(checks, open_summary(open_[0]))
    links = sum(one.name.startswith(("link.json for", "xcconfig for", "podspec for")) for one in checks)
    seen = f"{counted(len(libraries), 'archive')} as proven; {counted(links, 'link')} with its own flags"
    return Findings(checks, f"{seen}, negative controls passed")


def _product_library(job: Job[ProductProof], backend: Backend) -> Library:
    folder = job.inputs[roles.archive(backend.name)]
    described = read_archive_json(folder)
    return read_library(folder / described.library, backend, models_of(described.models))


def _as_shipped(job: Job[ProductProof], product: str, scratch: Path) -> Path:
    """The product's folder as under `dist/`, where several actions put their outputs side by side."""
    folder = scratch / product
    folder.mkdir()
    for role in (roles.KIT, roles.XCFRAMEWORK):
        for path in sorted(job.inputs[role].iterdir()) if role in job.inputs else ():
            link = folder / path.name
            if not link.exists():
                link.symlink_to(path.resolve())
    return folder


def run_checks(
    *,
    library: Path,
    model: ModelRef,
    functions: tuple[Function, ...],
    parameters: Path | None,
    weights: Path | None,
    recipe: Path,
    check: str | None,
    reference: str | None = None,
) -> tuple[Verdict, ...]:
    """What the worker runs: see `compilers.session.run_checks`."""
    from pipeline.compilers import session  # noqa: PLC0415 - TVM is in the worker only

    return session.run_checks(
        library=library,
        model=model,
        functions=functions,
        parameters=parameters,
        weights=weights,
        recipe=recipe,
        check=check,
        reference=reference,
    )
