"""What a check is run on, a loaded model in this process or behind the pipes of a program, and what it comes to.

A runner says by a `Launch` how its machine is started; `session` calls the machine. Values on this seam are numpy
arrays, tuples of int (shapes), numbers, texts, None, lists of values, `Held` and `Parameter`. `check` makes a `Trial`
and gets an `Outcome`, which travel to a worker and back. Neither numpy nor TVM is imported here: the toolchain of the
worker has them, and who asks may not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipeline.compilers.declared import Declared
from pipeline.documents.functions import Function
from pipeline.documents.run import Measured, Verdict
from pipeline.errors import StepError
from pipeline.matrix.cells import ModelRef

Value = Any
"""See the module."""


@dataclass(frozen=True)
class OnDevice:
    """An Android device behind adb: the program adb, the serial number, and a folder of ours on the device."""

    adb: str
    serial: str
    folder: str


@dataclass(frozen=True)
class Launch:
    """How a machine is started; it travels to the worker.

    Attributes:
        library: a shared library to load into the worker's own process; None for a program.
        command: the program that has the model, and speaks `wire` on its standard input and output.
        env: changes to its environment; None removes a variable.
        emulated: what stands for the real machine (`qemu-user`); None where nothing does. A program may say more when
            it has started: which GPU it found.
        device: where the program runs, where that is not this machine; the command then starts it there.
    """

    library: str | None = None
    command: tuple[str, ...] = ()
    env: Mapping[str, str | None] = field(default_factory=dict)
    emulated: str | None = None
    device: OnDevice | None = None


@dataclass(frozen=True)
class Held:
    """Something that only the runtime understands (a KV cache), which the machine keeps under a number."""

    number: int


@dataclass(frozen=True)
class Parameter:
    """One of the model's parameters, by its name."""

    name: str


class MachineDied(StepError):
    """The machine is gone, or gave no answer in time: nothing can be said of the model's numbers."""


class Machine(Protocol):
    """A model that is loaded and can be called.

    Attributes:
        emulated: see `Launch`; None for the real thing.
        transport: seconds in which files were brought to it, which no app spends.
    """

    emulated: str | None
    transport: float

    def use_parameters(self, folder: Path) -> None:
        """Load the parameters in a folder, as an app does; the ones before are forgotten."""

    def call(self, function: str, arguments: Sequence[Value]) -> tuple[Value, float]:
        """Call a function of the model; returns its result and the seconds it took, without their transport.

        Raises:
            StepError: it failed.
        MachineDied: whatever it ran in died.
        """

    def runtime(self, function: str, arguments: Sequence[Value]) -> Value:
        """Call a function of the runtime.

        Raises:
            StepError: there is none, or it failed.
        MachineDied: whatever it ran in died.
        """

    def close(self) -> int:
        """End it; returns the most memory it had, in bytes.

        Raises:
            MachineDied: it crashed as it ended, or never did: so would an app.
        """


@dataclass(frozen=True)
class Trial:
    """One model, and what it is held against.

    Attributes:
        model: the model.
        functions: what `functions.json` (or `archive.json`) says of it.
        parameters: directory with the tensor cache, if the model has parameters.
        weights: directory with the model's weights, if it has any.
        reads: the file with the check, or the model's own, and what it may read.
        check: the function's name; None where the model's file itself says what it computes.
        reference: for the latter, what kind of file it is; see `compilers.reference.check_of`.
        seconds: of wall time that all of it may take.
    """

    model: ModelRef
    functions: tuple[Function, ...]
    parameters: Path | None
    weights: Path | None
    reads: Declared
    check: str | None
    seconds: float
    reference: str | None = None

    @property
    def takes_parameters(self) -> bool:
        """Whether there are parameters for its functions to take."""
        taken = (argument.parameter for function in self.functions for argument in function.arguments or ())
        return self.parameters is not None and any(taken)


@dataclass(frozen=True)
class Outcome:
    """What a check came to.

    Attributes:
        compared: every comparison.
        control: what was changed in the negative control (`weights`; `inputs` of a model without), which then failed;
            None where it passed, or where it was not made because the check itself failed.
        emulated: what stood for the real machine.
        measured: what it cost.
    """

    compared: tuple[Verdict, ...]
    control: str | None
    emulated: str | None
    measured: Measured


def run_checks(*, launch: Launch, trial: Trial) -> Outcome:
    """Run a recipe's check on a machine, and its negative controls.

    Raises:
        StepError: the machine does not start or dies, the model is not there, the check is wrong, or compared nothing.
        ToolMissing: this machine lacks something for it.
    """
    from .checks import run  # noqa: PLC0415 - numpy is in the worker

    return run(launch, trial)
