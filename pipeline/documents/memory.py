"""`memory.json`: what one cell takes of a device's memory; the step `memory` writes it, `device` and a command read it.

What a driver adds, and what the app itself needs, is in none of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .codec import Document

_SMALL = 10_000_000


@dataclass(frozen=True)
class Memory(Document):
    """Bytes that a cell takes.

    Attributes:
        parameters: all of them, and of Relax's models the library, which holds constants.
        temporary: what the function that allocates most allocates.
        cache: keys and values of one whole context; of a model that keeps none, the largest sum of arguments.
        at_least: whether something more is needed whose size is only known when the model runs.
    """

    NAME = "memory.json"

    parameters: int
    temporary: int
    cache: int
    at_least: bool = False

    @property
    def total(self) -> int:
        """The sum of what is known."""
        return self.parameters + self.temporary + self.cache


@dataclass(frozen=True)
class Need:
    """What is known, at some time, of the memory that a cell takes.

    Attributes:
        source: who says so: `declared` (`estimated_vram_bytes` in targets.yaml), `built` (its library and parameters),
            `weights` (the sizes that slipway.lock pins), or `nothing`.
        at_least: whether it takes more than that.
    """

    bytes: int
    source: Literal["declared", "built", "weights", "nothing"]
    at_least: bool

    def fits(self, usable: int) -> bool | None:
        """Whether it fits into so many bytes; None where that cannot be told yet."""
        if self.bytes > usable:
            return False
        return None if self.at_least else True


@dataclass(frozen=True)
class Option:
    """One way to have a model on a device.

    Attributes:
        cell: subject of the cell.
        model: subject of the variant.
        declared: bytes that targets.yaml says it takes, or None.
    """

    cell: str
    model: str
    backend: str
    declared: int | None = None


@dataclass(frozen=True)
class Choice:
    """The option that a device gets of a model, and whether it fits; see `Need.fits`."""

    option: Option
    need: Need
    fits: bool | None


def choose(options: Iterable[tuple[Option, Need]], usable: int) -> Choice | None:
    """The first option that fits, else the first that may, else the smallest; None where there is no option."""
    found = [Choice(option, need, need.fits(usable)) for option, need in options]
    for wanted in (True, None):
        for choice in found:
            if choice.fits is wanted:
                return choice
    return min(found, key=lambda choice: choice.need.bytes, default=None)


def of_built(built: Memory) -> Need:
    """What a built cell needs."""
    return Need(built.total, "built", built.at_least)


def gigabytes(size: int) -> str:
    """Bytes for people: `1.37 GB`, decimal as the sizes of devices; what is very small in MB."""
    return f"{size / 1e6:.2f} MB" if 0 < abs(size) < _SMALL else f"{size / 1e9:.2f} GB"
