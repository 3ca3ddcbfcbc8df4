"""A custom step of targets.yaml as a value: `custom_steps` makes one for each subject, the plan an action of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.errors import Position


@dataclass(frozen=True)
class StepInput:
    """What a step reads: a file or directory of the tree, or outputs of a task; one of both is set.

    Attributes:
        path: relative to the root, or absolute.
        task: `bundle:minilm-f32`.
        only: patterns of the outputs that are taken; all where there are none.
        where: the place in targets.yaml.
    """

    path: str | None
    task: str | None
    only: tuple[str, ...]
    where: Position = field(compare=False)


@dataclass(frozen=True)
class CustomStep:
    """A command of the user's on one subject.

    Attributes:
        name: of the step.
        subject: a model variant, a cell, a product, or `once`.
        command: its words; `{in.NAME}` and `{out}` are filled in when it runs, `{{` is a brace.
        program: the program to be found on PATH; None where it is one of the inputs.
        inputs: name -> input.
        outputs: names and patterns of what it must leave in `{out}`.
        environment: variables.
        secrets: names of variables that are passed on.
        timeout: seconds.
        ship: whether the outputs go to `dist/`.
        where: the place in targets.yaml.
    """

    name: str
    subject: str
    command: tuple[str, ...]
    program: str | None
    inputs: Mapping[str, StepInput] = field(hash=False)
    outputs: tuple[str, ...]
    environment: Mapping[str, str] = field(hash=False)
    secrets: tuple[str, ...]
    timeout: float
    ship: bool
    where: Position = field(compare=False)

    @property
    def task(self) -> str:
        """`ava3:minilm-f32`."""
        return f"{self.name}:{self.subject}"
