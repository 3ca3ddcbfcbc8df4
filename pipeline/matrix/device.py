"""A device that models are for: a value that `cells` holds, made by `devices`."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.errors import Position


@dataclass(frozen=True)
class Wanted:
    """A model or variant that a device must be able to hold: its name, and the place in targets.yaml."""

    name: str
    where: Position | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Device:
    """What models are for.

    Attributes:
        name: its name in targets.yaml.
        gpu: family of its GPU.
        os: its system, as a backend's platform.
        ram: bytes of memory.
        usable: bytes of it that an app can use for its model.
        backends: names of the backends for it, the best first, each one in some cell of the matrix.
        models: what it must be able to hold; None where that is not said.
        where: the place in targets.yaml.
        adb_model: patterns of what adb calls it.
    """

    name: str
    gpu: str
    os: str
    ram: int
    usable: int
    backends: tuple[str, ...]
    models: tuple[Wanted, ...] | None
    where: Position = field(compare=False)
    adb_model: tuple[str, ...] = ()
