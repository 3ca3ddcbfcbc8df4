"""The presets of backends, read from `presets.yaml` beside this file.

`backends` takes them as starting points and the reference lists them. They are data: a new one needs no code. The file
is ours, so a mistake in it is a bug, yet it is read and validated like a user's.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue, RootModel

from pipeline.platforms import Platform

from .diagnostics import Diagnostics
from .document import Document
from .fields import Name, Strict
from .loader import validate

_FILE = Path(__file__).with_name("presets.yaml")


@dataclass(frozen=True)
class Machine:
    """The machine that `host` stands for, as `platform.system()` and `platform.machine()` name it."""

    system: str
    architecture: str

    @classmethod
    def current(cls) -> Machine:
        """The machine this runs on."""
        return cls(platform.system(), platform.machine())

    def __str__(self) -> str:
        return f"{self.system} {self.architecture}"


class Alias(Strict):
    """What a preset stands for on one kind of machine."""

    preset: str
    arch: Name


class Preset(Strict):
    """A starting point for a backend; the keys are explained at the top of presets.yaml."""

    summary: str
    platform: Platform
    device: dict[str, JsonValue]
    triples: Annotated[dict[Name, str], Field(min_length=1)]
    deployment_target: str | None = None
    system_libraries: tuple[str, ...] = ()
    frameworks: tuple[str, ...] = ()
    kernels: Literal["source", "metallib"] | None = None


class MachinePreset(Strict):
    """A preset whose meaning depends on the machine."""

    summary: str
    machines: dict[str, Alias]

    def on(self, machine: Machine) -> tuple[Preset, str] | None:
        """The preset that it stands for on a machine, and the architecture; None where it does not know the machine."""
        alias = self.machines.get(str(machine))
        preset = presets()[alias.preset] if alias is not None else None
        return (preset, alias.arch) if alias is not None and isinstance(preset, Preset) else None


class _Presets(RootModel[dict[str, Preset | MachinePreset]]):
    pass


@cache
def presets() -> dict[str, Preset | MachinePreset]:
    """All presets, by name, in the order of the file."""
    document = Document.read(_FILE)
    problems = Diagnostics(document)
    read = validate(_Presets, document.value, problems)
    problems.raise_if_any()
    return dict(read.root) if read else {}
