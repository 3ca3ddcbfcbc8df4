"""What a check is run on: a loaded model, in this process or behind the pipes of a program.

A runner says by a `Launch` how its machine is started; `session` calls the machine. Values on this seam are numpy
arrays, tuples of int (shapes), numbers, texts, None, lists of values, `Held` and `Parameter`. Neither numpy nor TVM is
imported here: the toolchain of the worker has them, and who asks may not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipeline.errors import StepError

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
