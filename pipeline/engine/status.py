"""What the engine says of an action: whether it is fresh, and what became of it in this run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pipeline.action import Action, Json

MANIFESTS = "build/manifest"


class Status(NamedTuple):
    """Whether an action is fresh, and if not why.

    Attributes:
        fresh: nothing to do.
        why: gives the reason why it is not fresh, when somebody asks for it.
        key: today's key; None while something upstream is stale, because then nobody can know it.
        fields: the document behind `key`.
        damaged: outputs that are missing or not what the record says.
    """

    fresh: bool
    why: Callable[[], str] = str
    key: str | None = None
    fields: Mapping[str, Json] | None = None
    damaged: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """Why it is not fresh, for people; empty when it is."""
        return self.why()


UP_TO_DATE = Status(fresh=True)
"""Of an action whose inputs and outputs have not been touched since it was last found fresh."""


class Outcome(NamedTuple):
    """What became of an action in this run.

    Attributes:
        name: the action.
        how: `built`, `restored` (local store) or `fetched` (remote store).
        seconds: how long that took.
        facts: what the step reported.
        bytes: the size of all outputs.
        later: it is not written down yet; see `burst`.
    """

    name: str
    how: str
    seconds: float
    facts: Mapping[str, Json]
    bytes: int
    later: bool = False


def manifest_path(action: Action[Any]) -> str:
    """Where the manifest that stands for a directory of outputs lies, relative to the root."""
    return f"{MANIFESTS}/{action.step}.{action.subject}.txt"


def targets(action: Action[Any]) -> list[str]:
    """The files doit knows the action by, relative to the root."""
    return [f"{action.out}/{name}" for name in action.outputs] or [manifest_path(action)]
