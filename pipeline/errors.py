"""Every error a user can meet, in one small tree.

Each says what is wrong, where, and what to do about it; the commands print `str(error)` and no traceback. Anything that
reaches the user and is not one of these is a bug of ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


def printable(text: str) -> str:
    """A text with what cannot be printed written out: strangers' names may hold control characters, or no Unicode."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


class Position(NamedTuple):
    """A place in a file a human wrote. Line and column count from 1, as editors do."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class SlipwayError(Exception):
    """Base of the tree.

    Args:
        what: one sentence, no full stop needed, naming the thing that is wrong.
        where: the place: a `Position`, a file, or a URL.
        hint: what the reader should do next.
        log: file with what tools printed.
    """

    def __init__(
        self,
        what: str,
        *,
        where: Position | Path | str | None = None,
        hint: str | None = None,
        log: Path | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint
        self.log = log

    @property
    def headline(self) -> str:
        """Where and what, in one line."""
        what = self.what.partition("\n")[0]
        return printable(f"{self.where}: {what}" if self.where is not None else what)

    @property
    def cause(self) -> str:
        """Where, what and hint: the same for all tasks that met the same thing, whatever their logs."""
        head = f"{self.where}: {self.what}" if self.where is not None else self.what
        return printable(f"{head}\n  hint: {self.hint}" if self.hint else head)

    def __str__(self) -> str:
        return f"{self.cause}\n  log: {self.log}" if self.log else self.cause


class MatrixError(SlipwayError):
    """targets.yaml (or the lock beside it) is wrong."""


class StepError(SlipwayError):
    """An action failed."""


class CompilerCrash(StepError):
    """The compiler process died; the message carries the signal's name."""


class DownloadError(StepError):
    """Something could not be fetched, or what arrived is not what the lock promises."""


class VerifyError(StepError):
    """An artifact was built and is wrong."""


class ToolMissing(StepError):
    """A program or an optional package is needed and is not there, or not any more."""


class Unsuited(ToolMissing):
    """Everything is there, and this is not for it: a float16 model on a GPU without float16."""


class StoreError(SlipwayError):
    """The store, `build/` or `dist/` could not be read or written (disk full, permissions, a corrupt blob)."""


class DeviceError(SlipwayError):
    """A device behind a cable cannot be used, or something on it could not be done."""


class FormatError(SlipwayError):
    """A binary file (archive, object, fat file, wasm module, tar) is malformed."""
