"""What a recipe gets and gives: the vocabulary between a user's Python file and the compilers.

Recipes import it for their annotations, `relax` and `parameters` make the `BuildSpec`, `session` the `Session` and the
verdicts on each `Comparison`. It imports neither TVM nor numpy, so that a recipe can be read by anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

Array = Any
"""A numpy array, or anything that speaks DLPack on the CPU."""

Parameters = Mapping[str, Array | Callable[[], Array]] | Callable[[], Mapping[str, Array | Callable[[], Array]]]
"""Named parameters in the order the model's functions take them.

A value may be a function that reads its array, and the whole may be a function that returns the mapping. Neither is
called while compiling. A mapping whose values are functions is best: its names go into `functions.json`, and no more
than one tensor is in memory at a time. The names of the others must be those that the module has.
"""


Shapes = dict[str, tuple[int | str, ...]]
"""The option `shapes` of an ONNX model: input -> extents, in which a name stands for one known only at the call."""


@dataclass(frozen=True, slots=True)
class SameAs:
    """In place of a parameter: it has the numbers of another one, which has a name of its own (tied weights).

    Two parameters that are equal without being declared are refused, unless all their elements are: a `lambda` in a
    loop that does not bind its variable (`lambda name=name: ...`) gives one tensor under all names.
    """

    name: str


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """What a factory is asked to build.

    Attributes:
        model: the model's name in targets.yaml.
        variant: the variant's name.
        options: the variant's body in targets.yaml; the recipe gives its keys their meaning.
        weights: directory with the model's weights; while compiling, with those only that match the model's `config`
            patterns. None where the model names no weights.
        device: TVM's name of the kind of device, e.g. "metal". While compiling, `tvm.target.Target.current()` is the
            whole target; while the parameters are written the device is "llvm", and must not matter to them.
    """

    model: str
    variant: str
    options: Mapping[str, object]
    weights: Path | None
    device: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """One result beside what an independent implementation gave. Equal where no element differs by more than `atol`."""

    name: str
    got: Array
    want: Array
    atol: float


class Session(Protocol):
    """A model that has been compiled, linked and loaded, for a recipe's `check(session)` to call."""

    @property
    def model(self) -> str:
        """The model's name in targets.yaml."""

    @property
    def variant(self) -> str:
        """The variant's name."""

    @property
    def options(self) -> Mapping[str, object]:
        """The variant's body in targets.yaml."""

    @property
    def weights(self) -> Path | None:
        """Directory with all of the model's weight files, or None where the model names none."""

    def call(self, function: str, *arguments: object) -> object:
        """Call one of the model's functions; its parameters are appended where it takes more than was given.

        numpy arrays go in and come out. A tuple of int is a shape; what the runtime alone understands (a KV cache)
        passes through unchanged.

        Raises:
            StepError: no such function, or the arguments do not fit its signature.
        """

    def runtime(self, function: str, *arguments: object) -> object:
        """Call a function of the runtime itself, such as "vm.builtin.kv_state_begin_forward"."""


Check = Callable[[Session], Iterable[Comparison]]
"""What targets.yaml names as `check`."""
