"""Does a model for this machine load, run with its real weights, and give the right numbers?

Called by `pipeline.steps.verify` for the host's backend. Links a real shared library against the toolchain's runtime,
as an app would, and asks a worker's child to load it and run the recipes' checks there: a model that crashes takes the
child along and nothing else.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.action import Worker
from pipeline.documents.verdict import Verdict
from pipeline.errors import SlipwayError
from pipeline.process import run

from .links import Linker, full_flags
from .report import Check, counted, failed, listed, not_proven, proven
from .subject import Library, Model

_WRONG_NUMBERS = (
    "compare the recipe with the implementation its reference values come from; where the difference is rounding, "
    "say so with a larger atol in the recipe's check"
)


@dataclass(frozen=True, slots=True)
class Trial:
    """What it takes to run one model.

    Attributes:
        model: whose numbers are compared.
        run: its check, in a worker, on a shared library; None where the recipe has no check.
    """

    model: Model
    run: Callable[[Path], partial[tuple[Verdict, ...]]] | None


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
) -> tuple[list[Check], dict[str, float]]:
    """Run every model that has a check, each in a child of its own.

    Args:
        library: of `link_runnable`.
        trials: the models of the library.
        worker: of the toolchain whose runtime the library was linked with.
        log: gets what the models print.

    Returns:
        One finding a model, and the largest absolute error of each that was compared.
    """
    checks: list[Check] = []
    worst: dict[str, float] = {}
    for trial in trials:
        name = f"numbers of {trial.model.subject}"
        if trial.run is None:
            checks.append(not_proven(name, "recipe has no check", "name a `check` for the model in targets.yaml"))
            continue
        try:
            results = worker.call(trial.run(library), log=log)
        except SlipwayError as error:
            saw = error.what if error.where is None else f"{error.where}: {error.what}"
            checks.append(failed(name, saw, error.hint or "see the log"))
            continue
        errors = [result.max_abs_error for result in results if result.max_abs_error is not None]
        if errors:
            worst[trial.model.subject] = max(errors)
        checks.append(_judge(name, results))
    return checks, worst


def _judge(name: str, results: Sequence[Verdict]) -> Check:
    """One finding of all comparisons of a model."""
    if wrong := [_describe(result) for result in results if not result.passed]:
        return failed(name, f"{len(wrong)} of {len(results)} comparisons differ: {listed(wrong, 3)}", _WRONG_NUMBERS)
    if not results:
        return not_proven(name, "the check compared nothing", "yield at least one Comparison in the recipe's check")
    worst = max(results, key=lambda result: (result.max_abs_error or 0.0) / (result.atol or math.ulp(0.0)))
    elements = sum(result.elements for result in results)
    return proven(
        name, f"{counted(len(results), 'comparison')} of {counted(elements, 'element')}, worst {_describe(worst)}"
    )


def _describe(result: Verdict) -> str:
    if result.problem or result.max_abs_error is None:
        return f"{result.name}: {result.problem}"
    return f"{result.name}: max abs error {result.max_abs_error:.1e}, tolerance {result.atol:.1e}"
