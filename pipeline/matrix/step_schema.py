"""The classes that validate `steps:` of `targets.yaml`: commands of the user's that are tasks like any other.

As in `schema`, which puts them together, docstrings and descriptions are the reference of the file.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from .fields import INPUT_PATTERN, VARIABLE_PATTERN, Distinct, FileName, Patterns, Short, Strict, check_name, wrong

OURS = ("PATH", "HOME", "TMPDIR")
"""Variables that a step has without naming them, and cannot choose."""


def _not_ours(name: str) -> str:
    if name in OURS:
        raise wrong(f"{name} is set for every step", f"leave it out: a step chooses no {', '.join(OURS)}")
    return name


Variable = Annotated[str, StringConstraints(pattern=VARIABLE_PATTERN), AfterValidator(_not_ours)]
InputName = Annotated[str, StringConstraints(pattern=INPUT_PATTERN)]


StepName = Annotated[InputName, AfterValidator(check_name)]


class StepInput(Strict):
    """A file or directory of the tree (`path`), or what another task puts out (`task`). A plain text is short for one
    of them: with a colon in it for the task, `bundle:{subject}`, else for the path."""  # noqa: D205, D209 - see `schema.Toolchain`

    path: FileName | None = Field(default=None, description="A file or directory, relative to targets.yaml.")
    task: FileName | None = Field(
        default=None,
        description="A task, by its whole name; its outputs are a directory to the step. With `*` behind the "
        "colon several, `ava3:*`: a directory that has one for each, called as its subject (`.` for `/`).",
    )
    files: Patterns = Field(
        default=(), description="Of a task: patterns of the outputs that are read; all where there are none."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> StepInput:
        if (self.path is None) == (self.task is None):
            raise wrong("an input is a `path` or a `task`", "give one of them")
        if self.path is not None and self.files:
            raise wrong("`files` chooses outputs of a task", "remove it, or name the file itself as `path`")
        return self


Input = Annotated[StepInput, Short(lambda written: "task" if ":" in written else "path")]


class Step(Strict):
    """A command of yours that is a task like any other: it runs when an input, its command or its program has changed,
    in a scratch folder, and its outputs are kept in the store. `docs/how-to/custom-steps.md` has examples."""  # noqa: D205, D209 - see `schema.Toolchain`

    command: Annotated[tuple[FileName, ...], Field(min_length=1)] = Field(
        description="The program and its arguments; no shell reads them. The program is found on PATH, or it is a file "
        "of the tree or an input. `{in.NAME}` stands for an input, `{out}` for the directory of the outputs, "
        "`{subject}` for what the step is for; see below."
    )
    for_: Literal["model", "cell", "product", "once"] = Field(
        default="once",
        alias="for",
        description="What it is run for, each time as a task of its own, `<step>:<subject>`: every model variant, "
        "every cell, every product, or `once`.",
    )
    models: Patterns = Field(
        default=(), description="For models and cells: patterns of models or variants that it is run for."
    )
    backends: Patterns = Field(default=(), description="For cells: patterns of backends that it is run for.")
    inputs: dict[InputName, Input] = Field(
        default={},
        description="What it reads, by name. A file of the tree is at the same relative path in the folder that the "
        "command runs in; nothing else of the tree is there.",
    )
    outputs: Annotated[Patterns, Field(min_length=1)] = Field(
        description="What it writes, relative to `{out}`: names, or patterns where only the step knows them. One "
        "that is not there afterwards is an error, and so is anything else."
    )
    environment: dict[Variable, str] = Field(
        default={}, description="Variables. Besides these and the secrets it has PATH, HOME, TMPDIR and LANG."
    )
    secrets: Distinct[Variable] = Field(
        default=(),
        description="Names of variables that are passed on. Their values are in no key, result or log; another value "
        "does not run the step again.",
    )
    timeout: Annotated[float, Field(gt=0, le=7 * 24 * 3600, strict=True)] = Field(
        default=3600, description="Seconds after which it is ended, with all it has started."
    )
    ship: bool = Field(
        default=False,
        strict=True,
        description="Whether the outputs go to `dist/<step>/<subject>` and into the manifest, once all is proven that "
        "they are made of.",
    )
