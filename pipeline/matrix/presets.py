"""The presets of backends, read from `presets.yaml` beside this file.

`backends` takes them as starting points and the reference lists them. They are data: a new one needs no code. The file
is ours, so a mistake in it is a bug.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue, TypeAdapter

from pipeline.platforms import Platform

from .document import Document
from .fields import Name, Strict

_FILE = Path(__file__).with_name("presets.yaml")


def this_machine() -> str:
    """What `host` stands for here, as presets.yaml has it: `Linux x86_64`."""
    return f"{platform.system()} {platform.machine()}"


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

    def on(self, machine: str) -> tuple[Preset, str] | None:
        """The preset that it stands for on a machine, and the architecture; None where it does not know the machine."""
        alias = self.machines.get(machine)
        preset = presets()[alias.preset] if alias is not None else None
        return (preset, alias.arch) if alias is not None and isinstance(preset, Preset) else None


@cache
def presets() -> dict[str, Preset | MachinePreset]:
    """All presets, by name, in the order of the file."""
    return TypeAdapter(dict[str, Preset | MachinePreset]).validate_python(Document.read(_FILE).value)
