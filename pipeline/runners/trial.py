"""One run of a model's check: what it is held against, and the function that makes it in a worker's child.

`check` asks. Neither numpy nor TVM is imported here: the toolchain of the worker has them, and who asks may not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.compilers.declared import Declared
from pipeline.documents.functions import Function
from pipeline.documents.run import Run
from pipeline.matrix.cells import ModelRef

from .machine import Launch


@dataclass(frozen=True)
class Trial:
    """One model, and what it is held against.

    Attributes:
        functions: what `functions.json` (or `archive.json`) says of it.
        parameters: directory with the tensor cache, if the model has parameters.
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


def run_checks(*, launch: Launch, trial: Trial, about: Run) -> Run:
    """Run a recipe's check on a machine, and its negative controls; return what is known of the run then.

    Raises:
        StepError: the machine does not start or dies, the model is not there, the check is wrong, or compared nothing.
        ToolMissing: this machine lacks something for it.
    """
    from .checks import run  # noqa: PLC0415 - numpy is in the worker

    return run(launch, trial, about)
