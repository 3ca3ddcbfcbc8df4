"""What every runner's step does: start the artifact, run the recipe's check on it, judge, and write `run.json`.

A runner is a function that launches it, made a step by `runner`. The check is the recipe's own, and so is the session
it gets; only how the artifact is brought to life differs. A machine that lacks something for it is no failure: the
result says so, and what to install.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, wraps
from pathlib import Path

from pipeline import roles, settings
from pipeline.action import Facts, Job
from pipeline.compilers.declared import declared
from pipeline.documents.archive import Archive
from pipeline.documents.codec import dumps, encode
from pipeline.documents.run import Run, Verdict, summary
from pipeline.errors import CompilerCrash, StepError, ToolMissing, Unsuited, VerifyError
from pipeline.files.locks import SHORT, own_folder
from pipeline.matrix.cells import Backend, ModelRef
from pipeline.nearest import listed
from pipeline.proofs.report import counted

from .machine import Launch
from .trial import Trial, run_checks

SECONDS = 1200.0
"""Wall time of a check, where SLIPWAY_CHECK_SECONDS does not say otherwise. In no key: it changes no result."""

_WRONG_NUMBERS = (
    "compare the recipe with the implementation its reference values come from; where the difference is rounding, "
    "say so with a larger atol in the recipe's check"
)
_MISCOMPILED = (
    "TVM reads or compiles this model wrongly: write that part of it with other operators; where the difference is "
    "rounding, name a `check` with an atol of your own"
)
_IN_KIT = "where check:{} passes, the code of the kit gives other numbers: compare templates of your own with ours"
_BLIND = (
    "compare the model's output with numbers that were not computed by it, with a tolerance below the largest of them"
)
_NO_WEIGHTS = "compare what comes out of a function that takes the parameters, and depends on each"
_CONSTANT = (
    "export the model with all the outputs that an app reads; where they do depend, for inputs that were not tried, "
    "name a `check` of your own in targets.yaml that tries them"
)


@dataclass(frozen=True)
class Params:
    """What is to be run.

    Attributes:
        check: name of the recipe's function; None where the model's file itself says what it computes.
        toolchain: whose Python runs the check, and whose runtime the model is linked with.
        module: the file of a wasm module; None for an archive.
        reference: the kind of the model's file, where it says what the model computes.
        product: whose kit the model is run from; None for the archive itself.
    """

    model: ModelRef
    backend: Backend
    library: str
    check: str | None
    toolchain: str = "current"
    module: str | None = None
    reference: str | None = None
    product: str | None = None


Launcher = Callable[[Job[Params], Path], Launch]
"""Builds and installs what a run takes, given a directory that is removed after the run. A ToolMissing says what this
machine lacks: the model is then not run, which is said."""


def runner(name: str) -> Callable[[Launcher], Callable[[Job[Params]], Facts]]:
    """Make a step of a launcher; see `perform`."""

    def step(launch: Launcher) -> Callable[[Job[Params]], Facts]:
        @wraps(launch)
        def run(job: Job[Params]) -> Facts:
            return perform(job, name, launch)

        return run

    return step


def perform(job: Job[Params], name: str, launch: Launcher) -> Facts:
    """Run the check on the artifact, which `launch` brings to life, and write `run.json`.

    `name` is that of the kind of machine, as targets.yaml and the table say it.

    Returns:
        Facts: `ran`, and of a run the fields of `RunSummary`.

    Raises:
        VerifyError: the numbers are wrong, the check cannot fail, or the model crashed or hung.
    """
    params = job.params
    about = Run(params.model.subject, params.backend.name, name)
    with own_folder(SHORT, "slipway-run-") as folder:
        try:
            run = _tried(job, launch(job, folder.resolve()), about)
        except ToolMissing as error:
            lacking = replace(about, lacks=error.what, hint=error.hint, unsuited=isinstance(error, Unsuited))
            job.write(Run.NAME, dumps(lacking))
            return {"ran": False, "lacks": error.what}
    _judge(job, run)
    job.write(Run.NAME, dumps(run))
    return {"ran": True, **encode(summary(run))}


def trial(job: Job[Params]) -> Trial:
    """What a runner's machine is held against, from the inputs of the job."""
    params, inputs = job.params, job.inputs
    return Trial(
        model=params.model,
        functions=Archive.read(inputs[roles.ARCHIVE]).model(params.model.subject).functions,
        parameters=inputs.get(roles.PARAMS),
        weights=inputs.get(roles.WEIGHTS),
        reads=declared(job, roles.CHECK, inputs.get(roles.PARAMS), inputs.get(roles.WEIGHTS)),
        check=params.check,
        seconds=settings.seconds("SLIPWAY_CHECK_SECONDS", SECONDS),
        reference=params.reference,
    )


def _tried(job: Job[Params], launch: Launch, about: Run) -> Run:
    """The check in a child of the toolchain's worker. Whatever goes wrong there is about the artifact."""
    told = trial(job)
    try:
        return job.services.worker(job.params.toolchain).call(
            partial(run_checks, launch=launch, trial=told, about=about), log=job.log
        )
    except CompilerCrash as error:
        late = "SIGALRM" in error.what
        what = f"it did not end within {told.seconds:g} s" if late else f"it crashed: {error.what}"
        hint = "give it more time: SLIPWAY_CHECK_SECONDS" if late else "the log has what it printed"
        raise VerifyError(what, hint=hint, log=job.log) from error
    except ToolMissing:
        raise
    except StepError as error:
        raise VerifyError(error.what, where=error.where, hint=error.hint, log=error.log or job.log) from error


def _judge(job: Job[Params], run: Run) -> None:
    """Whether the numbers are right, and the check is worth something.

    Raises:
        VerifyError: they are not, or it is not. All comparisons are in the log then.
    """
    wrong = [describe(one) for one in run.compared if not one.passed]
    if not wrong and run.control is not None:
        return
    with job.log.open("a", encoding="utf-8") as file:
        file.write(dumps(run))
    if wrong:
        of = counted(len(run.compared), "comparison")
        what = f"{len(wrong)} of {of} {'differs' if len(wrong) == 1 else 'differ'}: {listed(wrong, 3)}"
        blind = all(one.problem for one in run.compared if not one.passed)
        hint = _MISCOMPILED if job.params.check is None else _BLIND if blind else _WRONG_NUMBERS
        if job.params.product is not None and not blind:
            hint = _IN_KIT.format(f"{job.params.model.subject}@{job.params.backend.name}")
        raise VerifyError(what, hint=hint, log=job.log)
    changed = "weights" if trial(job).takes_parameters else "inputs"
    if job.params.check is None:
        what, hint = f"nothing that this model gives depends on its {changed}, so it proves nothing of them", _CONSTANT
    elif changed == "weights":
        what, hint = "the check passes with other weights just as well, so it proves nothing of them", _NO_WEIGHTS
    else:
        what, hint = "the check passes with changed inputs too, so it proves nothing", _BLIND
    raise VerifyError(what, hint=hint, log=job.log)


def describe(one: Verdict) -> str:
    """A comparison in a few words."""
    if one.problem or one.max_abs_error is None:
        return f"{one.name}: {one.problem}"
    return f"{one.name}: max abs error {one.max_abs_error:.1e}, tolerance {one.atol:.1e}"


def seen(run: Run) -> str:
    """What a run saw, for a report: comparisons, the worst of them, the control. No times, which never repeat."""
    worst = max(run.compared, key=lambda one: one.ratio)
    elements = sum(one.elements for one in run.compared)
    counts = f"{counted(len(run.compared), 'comparison')} of {counted(elements, 'element')}"
    return f"{run.runner}: {counts}, worst {describe(worst)}; with changed {run.control}, or other outputs, it fails"


_SAID = {"twin": "twin (kernels alone)"}
"""How the table calls a runner, where its name says too much."""


def run_line(runs: Sequence[Run], linked: str, *, times: bool = True) -> str:
    """Runs in the table, beside what links have shown: `run: qemu, max error 2.0e-06, 3.1 ms/call (emulated); linked`.

    Of several the error is told that came closest to its tolerance, the longest time of those that were not emulated if
    there are any, and what the first lacks that could not be made.
    Without times the line is the same for every run of the same artifact.
    """
    ran, idle = [one for one in runs if one.lacks is None], [one for one in runs if one.lacks is not None]
    parts = [_ran(ran, times=times), linked] if ran else [linked]
    if idle:
        by = f" by {idle[0].runner}" if ran else ""
        why = idle[0].hint if idle[0].hint and not idle[0].unsuited else str(idle[0].lacks)
        parts.append(f"not run{by}: {why.partition(' (')[0]}")
    return "; ".join(parts)


def _ran(runs: Sequence[Run], *, times: bool) -> str:
    run = max(runs, key=lambda one: one.worst.ratio if one.worst else 0.0)
    said = [_SAID.get(name, name) for name in sorted({one.runner for one in runs} - {"host"})]
    if (worst := run.worst) is not None:
        said.append(f"max error {worst.max_abs_error:.1e} (tolerance {worst.atol:.1e})")
    timed = max(runs, key=lambda one: (not one.emulated, one.typical or 0.0))
    said += [f"{_short(timed.typical)}/call"] if timed.typical is not None and times else []
    return f"run: {', '.join(said)}{' (emulated)' if timed.emulated else ''}"


def _short(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
