"""`report.json`: what was proven of a backend's archive or a product. `verify` writes it, `manifest` reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .codec import load

NAME = "report.json"


@dataclass(frozen=True)
class Report:
    """What a `verify` came to.

    Attributes:
        subject: the backend or product.
        proven: one line.
        checks: each check, with what was seen.
    """

    subject: str
    proven: str
    checks: tuple[Any, ...]


def read_report(folder: Path) -> Report:
    """The report in the output directory of a `verify` action."""
    return load(Report, folder / NAME)
