"""What the engine says of an action: whether it is up to date, and what became of it in this run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.action import SCRATCH, AnyAction
from pipeline.files import write_atomic
from pipeline.store.action_result import Output

MANIFESTS = "build/manifest"
"""Directory, relative to the root, of the files that stand for outputs whose names only the step knows."""


@dataclass(frozen=True)
class Status:
    """Whether an action is up to date, and if not why.

    Attributes:
        key: today's key; None while something upstream is stale, because the key is not known then.
        fields: the document behind `key`.
        damaged: outputs that are missing or not what the result says.
    """

    fresh: bool
    why: Callable[[], str] = str
    key: str | None = None
    fields: Mapping[str, object] | None = None
    damaged: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """Why it is not fresh, for people; empty when it is."""
        return self.why()


UP_TO_DATE = Status(fresh=True)


def stale(
    reason: str | Callable[[], str],
    key: str | None = None,
    fields: Mapping[str, object] | None = None,
    damaged: Sequence[str] = (),
) -> Status:
    """A status that is not fresh; a reason that takes reading of the store is a function."""
    return Status(False, (lambda: reason) if isinstance(reason, str) else reason, key, fields, tuple(damaged))


def and_more(things: Sequence[object]) -> str:
    """The end of a sentence that names only the first of several things."""
    return f" and {len(things) - 1} more" if len(things) > 1 else ""


@dataclass(frozen=True)
class Outcome:
    """What became of an action in this run.

    Attributes:
        how: `built`, `restored` (local store), `fetched` (remote store), or `remote` where it stays there.
        host: the machine of a cluster that built it in this run, if one did.
    """

    name: str
    how: str
    seconds: float
    host: str = ""

    def __str__(self) -> str:
        """For people, after the name."""
        if self.how == "remote":
            return "stays in the remote store"
        return f"{self.how} in {self.seconds:.1f} s{f' on {self.host}' if self.host else ''}"


def manifest_path(name: str) -> str:
    """Where the manifest that stands for an action's directory of outputs lies, relative to the root."""
    return f"{MANIFESTS}/{name.replace(':', '.', 1)}.txt"


def write_manifest(action: AnyAction, root: Path, outputs: Mapping[str, Output]) -> None:
    """Write the manifest of an action, through a scratch directory."""
    rows = (f"{o.sha256} {o.size:>12} {o.mode:04o} {p}\n" for p, o in sorted(outputs.items()))
    data = "".join(rows).encode("utf-8", "surrogateescape")
    write_atomic(root / manifest_path(action.name), data, through=root / SCRATCH)


def targets(action: AnyAction) -> list[str]:
    """The files doit knows the action by, relative to the root."""
    return [f"{action.out}/{name}" for name in action.outputs] or [manifest_path(action.name)]
