"""Runs a model's check on a machine, and sees to it that the check depends on the model.

`trial.run_checks` calls `run` inside a worker. `compilers.judge` measures, and shows that no comparison holds with
other outputs. Here is the control that takes the machine along: the same check once more with every weight changed
(where no function takes one, every input). It ends at the first comparison that fails, and one must.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipeline.compilers import judge, python_source, tensor_cache
from pipeline.compilers import reference as references
from pipeline.compilers.confinement import Confinement, confined
from pipeline.compilers.recipe import Check
from pipeline.documents.parameters import Parameter, Parameters
from pipeline.documents.run import Measured, Run, Verdict
from pipeline.errors import StepError
from pipeline.proofs.parameters import check_parameters

from .machine import Launch, Machine, MachineDied
from .session import INPUT_CHANGES, WEIGHT_CHANGES, Change, ModelSession, write_changed
from .trial import Trial

CALLS = 20
"""How often each function is called, for its times, where that takes no longer than the next constant says."""

_REPEATING = 2.0
"""Seconds for the calls beyond those of the check, all functions together."""

_GRACE = 20
"""Seconds after its time is up until a child that does not end by itself is killed."""


def run(launch: Launch, trial: Trial, about: Run) -> Run:
    """See `trial.run_checks`."""
    _end_after(trial.seconds + _GRACE)
    start = _starter(launch, trial)
    began = time.perf_counter()
    machine = start()
    try:
        session = _session(trial, machine)
        loaded = time.perf_counter() - began - machine.transport
        with confined(trial.reads) as scope:
            check = _check(trial, scope)
            results = _compared(check, session, trial, scope.source)
            control = None
            if all(one.passed for one in results):
                calls = session.calls
                session.repeat(CALLS, min(_REPEATING, trial.seconds / 10))
                control = _control(trial, partial(_session, machine=machine, most=calls), check)
    except BaseException:
        with suppress(MachineDied):
            machine.close()
        raise
    peak = machine.close()
    measured = Measured(loaded, peak, {name: tuple(taken) for name, taken in session.seconds.items()})
    return replace(about, compared=results, control=control, emulated=machine.emulated, measured=measured)


def _check(trial: Trial, scope: Confinement) -> Check:
    if trial.check is None:
        return references.check_of(str(trial.reference), scope.source, trial.model.options)
    return python_source.load_function(scope, trial.check)


def _compared(check: Check, session: ModelSession, trial: Trial, recipe: Path) -> tuple[Verdict, ...]:
    name = trial.check or "the comparison with the model's own file"
    verdicts: tuple[Verdict, ...] = python_source.run(judge.judged, recipe, check, session, recipe, name=name)
    if not verdicts:
        raise StepError(f"{name} compared nothing", where=recipe, hint="yield at least one Comparison")
    return verdicts


def _starter(launch: Launch, trial: Trial) -> Callable[[], Machine]:
    """What starts the machine; everything it takes is imported by then."""
    if launch.library is None:
        from .program import DeviceProgram, Program  # noqa: PLC0415 - it cannot be imported where there are no such processes

        if launch.device is not None:
            return partial(DeviceProgram, launch, launch.device, trial.seconds)
        return partial(Program, launch, trial.seconds)
    from .process import Process  # noqa: PLC0415 - it needs TVM, and a program does not

    return partial(Process, Path(launch.library), trial.model.prefix)


def _session(trial: Trial, machine: Machine, change: Change | None = None, most: int | None = None) -> ModelSession:
    """The model with its parameters loaded."""
    names: frozenset[str] = frozenset()
    if trial.parameters is not None:
        names = _fitting(trial, trial.parameters)
        machine.use_parameters(trial.parameters)
    return ModelSession(
        model=trial.model.model,
        variant=trial.model.variant,
        options=trial.model.options,
        weights=trial.weights,
        functions={one.name: one for one in trial.functions},
        parameters=names,
        machine=machine,
        change=change,
        most=most,
    )


def _fitting(trial: Trial, folder: Path) -> frozenset[str]:
    """The names of the parameters, which fit the functions: what a model says of others is hard to read."""
    cache = tensor_cache.read(folder)
    held = Parameters(tuple(Parameter(name, array.shape, array.dtype.name) for name, array in cache.items()))
    found = check_parameters(trial.model.subject, trial.functions, held)
    if found is not None and found.state == "failed":
        raise StepError(f"{found.name}: {found.saw}", hint=found.hint)
    return frozenset(cache)


def _control(trial: Trial, session: Callable[..., ModelSession], check: Check) -> str | None:
    """What had to be changed for the check to fail: `weights`, `inputs` where there are none; None where it passes.

    `session` makes one that takes no more calls than the check made: it may wait for a word that never comes now.
    """
    has_weights = False
    for change in WEIGHT_CHANGES if trial.takes_parameters else ():
        with tempfile.TemporaryDirectory(prefix="slipway-control-") as folder:
            other = Path(folder, "parameters")
            if write_changed(trial.parameters or other, other, change):
                has_weights = True
                if _fails(check, session(replace(trial, parameters=other))):
                    return "weights"
    if has_weights:  # with other inputs it may well fail: that says nothing of the weights
        return None
    return "inputs" if any(_fails(check, session(trial, change=change)) for change in INPUT_CHANGES) else None


def _fails(check: Check, session: ModelSession) -> bool:
    """Whether a comparison fails, the check does, or the model: with numbers that make no sense each of them may."""
    try:
        return not all(judge.judge(one).passed for one in check(session))
    except MachineDied:
        raise
    except (Exception, SystemExit):  # noqa: BLE001 - the recipe's own code, which may raise anything
        return True


def _end_after(seconds: float) -> None:
    """Have the kernel end this process after so much wall time: a model in this process cannot be interrupted else."""
    with suppress(ValueError):  # not in the main thread: somebody else watches
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
