"""A matrix file and what it says about this tree: cells, pins, toolchain environments, checkouts, tools.

`doit_plugin.session` opens one per process; the commands read it.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .action import AnyAction
from .errors import MatrixError
from .files import State, look

if TYPE_CHECKING:
    from .matrix.matrix import Matrix
    from .matrix.source import WeightsSource
    from .plan.lockfile import Lock, Pins
    from .toolchains.environment import Environment

_NO_TEXT = re.compile("[\0-\x1f\x7f\ud800-\udfff]")
"""Control characters, and bytes of a name that are no UTF-8, as Python has them."""

_LONGEST = 504 - len("/build/workspace-")
"""Bytes that the folder and the name of the matrix file may have: SQLite opens nothing with a longer path."""


class Project:
    """One matrix file and the tree beside it; everything is read when it is first asked for.

    Whatever reads it raises MatrixError where the matrix file is missing or wrong, or the lock beside it is.

    Attributes:     states: path -> state of the files that planning read besides the matrix file and its lock.
    """

    def __init__(self, targets: Path, note: Callable[[str], None]) -> None:
        self.targets = targets
        self.root = targets.parent.absolute()
        self.lock_path = targets.parent / "slipway.lock"
        self.states: dict[str, State] = {}
        self._note = note
        self._environments: dict[str, Environment] = {}
        self._guard = threading.RLock()

    @cached_property
    def matrix(self) -> Matrix:
        """The matrix."""
        from .matrix.expand import load  # noqa: PLC0415 - pydantic and YAML: not for a dodo.py with a graph of its own
        from .plan.apps import remarks  # noqa: PLC0415
        from .plan.library_names import Place, config_of, named  # noqa: PLC0415

        matrix = load(self.targets)
        if bad := _NO_TEXT.search(str(self.root)):
            what = f"the project lies in a folder whose name holds {bad[0]!a}, which CMake, Cargo and TVM do not take"
            raise MatrixError(what, where=self.root, hint="give that folder another name")
        if (size := len(os.fsencode(self.root))) > (most := _LONGEST - len(os.fsencode(self.targets.name))):
            what = (
                f"the project lies in a folder whose path has {size} bytes, and SQLite takes no more than {most} of it"
            )
            raise MatrixError(what, where=f"{str(self.root)[:40]}…", hint="move it to a folder with a shorter path")
        for path in filter(None, (config_of(model, matrix.root) for model in matrix.models)):
            self.states[path] = look(path)
        matrix = named(matrix, Place(matrix.root, self.lock_path, self._lock(matrix), self._note))
        for remark in (*matrix.remarks, *remarks(matrix)):
            self._note(remark)
        return matrix

    def plan(self) -> tuple[AnyAction, ...]:
        """The actions of the matrix."""
        from .plan import plan  # noqa: PLC0415

        frozen = {toolchain.name: self.environment(toolchain.name).frozen for toolchain in self.matrix.toolchains}
        return plan(self.matrix, self.pins(), frozen=frozen)

    def pins(self) -> Pins:
        """What slipway.lock pins of the models' files, and of packages for other machines."""
        lock, (sources, _) = self._lock(self.matrix), _pinned(self.matrix)
        pins = {subject: lock.entry_for(subject, source) for subject, source in sources.items()}
        return pins | {name: entry for name, entry in lock.weights.items() if "@" in name}  # for other machines

    def _lock(self, matrix: Matrix) -> Lock:
        from .plan.lockfile import read_lock  # noqa: PLC0415

        return read_lock(self.lock_path).carried(*_pinned(matrix))

    def carry_pins(self) -> None:
        """Write into slipway.lock, under its new name, what was renamed in the matrix file."""
        if "matrix" not in self.__dict__:  # a dodo.py has a graph of its own
            return
        from .plan.lockfile import write_carried  # noqa: PLC0415

        for new, old in write_carried(self.lock_path, *_pinned(self.matrix)).items():
            self._note(f"{new}: keeps the pin that {self.lock_path.name} has of {old}, which is the same")

    def forget(self) -> None:
        """Read everything anew: another process has changed the lock file."""
        self.__dict__.pop("matrix", None)
        self._environments.clear()

    def environment(self, toolchain: str) -> Environment:
        """The Python environment of a toolchain, which need not have been made yet."""
        from .toolchains.environment import Environment  # noqa: PLC0415
        from .toolchains.spec import spec  # noqa: PLC0415

        with self._guard:
            if toolchain not in self._environments:
                asked = next(one for one in self.matrix.toolchains if one.name == toolchain)
                platform = Environment(asked, self.root).platform
                frozen = self._lock(self.matrix).frozen(toolchain, spec(asked), platform)
                self._environments[toolchain] = Environment(asked, self.root, frozen)
            return self._environments[toolchain]

    def checkout(self, name: str) -> Path | None:
        """The directory of a checkout that is built: `runtime` of targets.yaml, `twins` for running kernels here."""
        runtime, twins = self.matrix.runtime, self.matrix.twins
        if name == "twins" and twins is not None and twins.checkout is not None:
            return Path(twins.checkout)
        if name != "runtime" or runtime.source is None:
            return None
        return self.root / runtime.source

    def pin(self, action: AnyAction, lock: object) -> str:
        """Write down what weights or a toolchain turned out to be; return a line that says so."""
        from .documents.codec import decode  # noqa: PLC0415
        from .plan.lockfile import write_frozen, write_lock_entry  # noqa: PLC0415
        from .steps import toolchain  # noqa: PLC0415
        from .weights.entry import Entry  # noqa: PLC0415

        if isinstance(action.params, toolchain.Params):
            platform = self.environment(action.subject).platform
            frozen = decode(tuple[str, ...], lock, action.name)
            write_frozen(self.lock_path, action.subject, action.params.spec or {}, platform, frozen)
            what = f"toolchain {action.subject}: its packages are"
        else:
            write_lock_entry(self.lock_path, action.subject, decode(Entry, lock, action.name))
            what = f"{action.subject}: its {'files' if action.step in ('wheel', 'prebuilt') else 'weights'} are"
        return f"{what} now pinned in {self.lock_path.name}; commit that file"


def _pinned(matrix: Matrix) -> tuple[dict[str, WeightsSource], dict[str, dict[str, object]]]:
    """What slipway.lock may pin, by its name: the sources of files, and the specs of toolchains."""
    from .toolchains.spec import spec  # noqa: PLC0415

    sources = {model.model: model.weights for model in matrix.models if model.weights is not None}
    sources |= {one.name: one.source for one in matrix.files}
    sources |= {f"{one.model}/{name}": source for one in matrix.models for name, source in one.fetched.items()}
    return sources, {one.name: spec(one) for one in matrix.toolchains}


Planner = Callable[[Project], Iterable[AnyAction]]
"""Says what is to be built: `Project.plan`, unless a dodo.py has a graph of its own."""
