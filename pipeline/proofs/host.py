"""Does a model for this machine load, run with its real weights, and give the right numbers?

Called by `pipeline.steps.verify` for the host's backend. Links a real shared library against the toolchain's runtime,
as an app would, and asks a worker's child to load it and run the recipes' checks there: a model that crashes takes the
child along and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.action import Worker
from pipeline.documents.verdict import Verdict
from pipeline.errors import SlipwayError, ToolMissing
from pipeline.process import run

from .links import Linker, full_flags
from .report import Check, counted, failed, listed, not_proven, proven
from .subject import Library, Model

_WRONG_NUMBERS = (
    "compare the recipe with the implementation its reference values come from; where the difference is rounding, "
    "say so with a larger atol in the recipe's check"
)
_MISCOMPILED = (
    "TVM reads or compiles this model wrongly: write that part of it with other operators; where the difference is "
    "rounding, name a `check` with an atol of your own"
)
_BLIND = (
    "compare the model's output with numbers that were not computed by it, with a tolerance below the largest of them"
)


@dataclass(frozen=True, slots=True)
class Trial:
    """What it takes to run one model.

    Attributes:
        model: whose numbers are compared.
        run: its check, in a worker, on a shared library; None where the recipe has no check.
        reference: the kind of the model's file, where that itself says what the model computes.
    """

    model: Model
    run: Callable[[Path], partial[tuple[Verdict, ...]]] | None
    reference: str | None = None


def link_runnable(library: Library, compiler: Linker, runtime: Mapping[str, str], out: Path, *, log: Path) -> Path:
    """Link the archive and the runtime into a shared library that this machine can load.

    Nothing may stay undefined, and the runtime is found where it was linked, so that the library tested is the very one
    that the toolchain would load.

    Raises:
        StepError: the linker refused.
    """
    flags = full_flags(library.backend, library.path, library.prefixes)
    exports = out.with_suffix(".exports")
    exports.write_text(flags.exports or "", encoding="utf-8")
    folders = [word for path in runtime.values() for word in ("-rpath", str(Path(path).parent))]
    if sys.platform == "darwin":
        shared, words = "-dynamiclib", ["-dead_strip", "-exported_symbols_list", str(exports)]
    else:
        shared, words = "-shared", ["--gc-sections", "-z", "defs", f"--version-script={exports}"]
    given = compiler.words([*words, *folders, *flags.words])
    run([compiler.tool.path, shared, *given, *runtime.values(), "-lm", "-o", out], log=log)
    return out


def check_numbers(
    library: Path, trials: Sequence[Trial], worker: Worker, *, log: Path
) -> tuple[list[Check], dict[str, Verdict]]:
    """Run every model that has a check, each in a child of its own.

    Args:
        library: of `link_runnable`.
        trials: the models of the library.
        worker: of the toolchain whose runtime the library was linked with.
        log: gets what the models print.

    Returns:
        One finding a model, and of each that was compared the comparison that came closest to its tolerance.
    """
    checks: list[Check] = []
    worst: dict[str, Verdict] = {}
    for trial in trials:
        name = f"numbers of {trial.model.subject}"
        if trial.run is None:
            checks.append(not_proven(name, "recipe has no check", "name a `check` for the model in targets.yaml"))
            continue
        try:
            results = worker.call(trial.run(library), log=log)
        except ToolMissing as error:
            checks.append(not_proven(name, error.what, error.hint or "see the log"))
            continue
        except SlipwayError as error:
            saw = error.what if error.where is None else f"{error.where}: {error.what}"
            checks.append(failed(name, saw, error.hint or "see the log"))
            continue
        if measured := [result for result in results if result.max_abs_error is not None]:
            worst[trial.model.subject] = max(measured, key=lambda result: result.ratio)
        checks.append(_judge(name, results, _WRONG_NUMBERS if trial.reference is None else _MISCOMPILED))
    return checks, worst


def _judge(name: str, results: Sequence[Verdict], wrong_numbers: str) -> Check:
    """One finding of all comparisons of a model; `wrong_numbers` is the hint where they differ."""
    if wrong := [result for result in results if not result.passed]:
        said = f"{len(wrong)} of {len(results)} comparisons differ: {listed([*map(_describe, wrong)], 3)}"
        return failed(name, said, _BLIND if all(result.problem for result in wrong) else wrong_numbers)
    if not results:
        return not_proven(name, "the check compared nothing", "yield at least one Comparison in the recipe's check")
    worst = max(results, key=lambda result: result.ratio)
    many = f"{counted(len(results), 'comparison')} of {counted(sum(one.elements for one in results), 'element')}"
    return proven(name, f"{many}, worst {_describe(worst)}; with other outputs each fails")


def _describe(result: Verdict) -> str:
    if result.problem or result.max_abs_error is None:
        return f"{result.name}: {result.problem}"
    return f"{result.name}: max abs error {result.max_abs_error:.1e}, tolerance {result.atol:.1e}"
