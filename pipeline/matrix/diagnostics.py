"""Everything that is wrong with a matrix file, reported at once: reading and expanding share one `Diagnostics`."""

from __future__ import annotations

from collections.abc import Collection

from pipeline.errors import MatrixError, Position
from pipeline.nearest import did_you_mean
from pipeline.transport.http import redact

from .document import Document, Steps, one_line

SHOWN = 50
"""Problems that are written out; more are counted."""

_SEARCHED = 2_000
"""Names among which a slip is looked for; difflib takes a second for a few thousand more."""


class Diagnostics:
    """The problems of one document so far."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._problems: list[MatrixError] = list(document.problems.values())

    def __bool__(self) -> bool:
        return bool(self._problems)

    def add(self, path: Steps, what: str, hint: str, *, key: bool = False) -> None:
        """Note a problem with the value at `path`, or with its key.

        Where YAML itself was wrong the value is only a stand-in, and nothing more is said about it.
        """
        where = self.document.at(path, key=key)
        if where not in self.document.problems:
            name = dotted(path)
            told = one_line(redact(f"{name}: {what}" if name else what))
            self._problems.append(MatrixError(told, where=where, hint=one_line(redact(hint))))

    def raise_if_any(self) -> None:
        """Raise what was collected.

        Raises:
            MatrixError: for one problem, that problem; for several, one whose message has a line (and a hint) for each.
        """
        found = sorted(self._problems, key=lambda one: one.where[1:] if isinstance(one.where, Position) else (0, 0))
        if len(found) == 1:
            raise found[0]
        if found:
            more = f"\nand {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            text = "\n".join(str(problem) for problem in found[:SHOWN])
            raise MatrixError(f"{len(found)} problems\n{text}{more}", where=self.document.file)


def dotted(path: Steps) -> str:
    """A path as a human writes it: `models.minilm.variants.f32`, `matrix.include[0].backend`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def suggest(name: str, known: Collection[str], noun: str = "names") -> str:
    """A hint for a name that is not known: the nearest one, and all there are."""
    names = sorted(known)[:_SEARCHED]
    listed = f"known {noun}: {', '.join(names)}" if names else f"there are no {noun} yet"
    return f"{did_you_mean(name, names)} {listed}".lstrip()
