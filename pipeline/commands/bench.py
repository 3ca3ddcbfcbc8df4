"""`doit bench`: models on an Android device behind adb: are their numbers right there, and what do they cost.

The program is built from a product's kit, as an app would link it. The check is the recipe's, with its
negative control.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pipeline.action import AnyAction
from pipeline.adb.device import Device, choose, find_adb
from pipeline.documents.codec import dumps, encode
from pipeline.documents.run import Run, summary
from pipeline.doit_plugin.session import Session
from pipeline.engine.apart import apart
from pipeline.errors import DeviceError, SlipwayError, VerifyError
from pipeline.files import write_atomic
from pipeline.matrix.cells import ModelRef
from pipeline.plan.checks import device_runs
from pipeline.platforms import ANDROID_ABIS, architecture
from pipeline.reports.events import size
from pipeline.reports.tables import lines
from pipeline.runners import adb

from .base import ProjectCommand, json_flag, several, value
from .friendly import ERROR

HEAD = ("model", "function", "load", "first", "p50", "p90", "memory", "max error")
RESULTS = "build/bench"

_NOT_ASKED = (
    "a product of kind android or native with the model and its runtime is needed (`runtime` in targets.yaml), and a "
    "model with a check"
)


@dataclass(frozen=True)
class BenchOptions:
    """See `doit help bench`."""

    device: str = value("serial number of the device [default: ANDROID_SERIAL, else the only one]", short="s")
    model: list[str] = several("a model, a variant, or a cell whatever the device; may be repeated [default: all]")  # noqa: RUF009 - makes a field
    json: bool = json_flag()


class Bench(ProjectCommand[BenchOptions]):
    """run models on an Android device over adb, compare their numbers, and measure (Slipway)"""  # noqa: D415 - doit prints this as it is

    name = "bench"
    doc_usage = "[--device SERIAL] [--model MODEL|VARIANT|VARIANT@BACKEND ...]"
    doc_description = (
        "Builds a program from the kit of a product, pushes it and the parameters to the device, and runs the check of "
        "each model there. Says how long loading and calls took, and how much memory that needed. Building for Android "
        "takes the NDK. Exit status: 0 all ran and are right, 1 a model is wrong on the device, 3 one could not be run."
    )

    def answer(self, session: Session, options: BenchOptions, args: Sequence[str]) -> int:
        """See `ProjectCommand`."""
        if args:
            raise SlipwayError(f"bench takes no word {args[0]!r}", hint=f"name a model: --model {args[0]}")
        device = choose(find_adb(), options.device)
        actions = _chosen(session, device, options)
        session.begin(lambda text: print(text, file=sys.stderr))  # noqa: T201 - no part of the answer
        try:
            with device.alone():
                done = [_done(session, device, action) for action in actions]
        finally:
            session.end(all_fresh=False, said="")
        runs = [one for one in done if isinstance(one, Run)]
        rows = [row for run in runs for row in _rows(run)]
        table = lines([HEAD, *rows], right=range(2, len(HEAD)), rule=True, width=self.width) if rows else ()
        document = {"schema": 1, "device": device.serial, "runs": [_document(one) for one in done]}
        self.show(document, [*table, *_unhappy(done)], as_json=options.json)
        if any(isinstance(one, _Wrong) for one in done):
            return 1
        return ERROR if any(run.lacks for run in runs) else 0


@dataclass(frozen=True)
class _Wrong:
    """A model that is wrong on the device."""

    model: str
    backend: str
    error: VerifyError


def _chosen(session: Session, device: Device, options: BenchOptions) -> list[AnyAction]:
    """The runs that are asked for and that the device could make; of several products the first that has a model.

    Raises:
        DeviceError: there are none.
    """
    said = device.shell("getprop ro.product.cpu.abilist 2>/dev/null; echo; uname -m").text.split()
    abis, processor = said[0].split(",") if len(said) > 1 else [], architecture(said[-1]) if said else ""
    found: dict[str, AnyAction] = {}
    other: list[str] = []

    def wanted(model: ModelRef) -> bool:
        return not options.model or bool({model.model, model.subject} & {*options.model})

    for action in device_runs(session.project.matrix):
        model, backend = action.params.model, action.params.backend
        subject = f"{model.subject}@{backend.name}"
        arch = architecture(backend.arch)
        fits = ANDROID_ABIS.get(arch) in abis if backend.platform == "android" else not abis and arch == processor
        if subject in options.model or (fits and wanted(model)):
            found.setdefault(subject, action)
        elif wanted(model):
            other.append(subject)
    if found:
        return list(found.values())
    kind = ", ".join(abis) or processor or "unknown"
    what = f"nothing of {session.targets.name} can be run on {device.serial} ({kind})"
    hint = f"choose another device, or say that it can: --model {other[0]}" if other else _NOT_ASKED
    raise DeviceError(what, hint=hint)


def _done(session: Session, device: Device, action: AnyAction) -> Run | _Wrong:
    """A run, written down under `RESULTS`."""
    try:
        with apart(session.engine, replace(action, run=partial(adb.run, device=device))) as made:
            run = Run.read(made.out)
    except VerifyError as error:
        choose(device.adb, device.serial)  # a program that ended with its device says nothing of the model
        return _Wrong(action.params.model.subject, action.params.backend.name, error)
    write_atomic(session.root / RESULTS / device.serial / f"{run.model}@{run.backend}.json", dumps(run))
    return run


def _document(one: Run | _Wrong) -> Mapping[str, object]:
    if isinstance(one, _Wrong):
        return {"model": one.model, "backend": one.backend, "wrong": one.error.what, "hint": one.error.hint}
    if one.lacks is not None:
        return {"model": one.model, "backend": one.backend, "lacks": one.lacks, "hint": one.hint}
    document: Mapping[str, object] = encode(summary(one))
    return document


def _rows(run: Run) -> Iterator[tuple[str, ...]]:
    short = summary(run)
    if short is None:
        return
    error = "–" if short.max_error is None else f"{short.max_error:.1e}"
    for function, times in short.milliseconds.items():
        measured = (f"{one:.3g} ms" for one in (times.first, times.p50, times.p90))
        yield (
            f"{run.model}@{run.backend}", function, f"{short.load_seconds:.2f} s", *measured,
            size(short.peak_bytes) if short.peak_bytes else "–", error,
        )  # fmt: skip


def _unhappy(done: Sequence[Run | _Wrong]) -> Iterator[str]:
    for one in done:
        if isinstance(one, _Wrong):
            yield f"{one.model}@{one.backend}: WRONG: {one.error}"
        elif one.lacks is not None:
            yield f"{one.model}@{one.backend}: not run: {one.lacks}\n  hint: {one.hint}"
        elif one.emulated:
            yield f"{one.model}@{one.backend}: {one.emulated}: times are those of the machine below it"
