"""`steps:` of targets.yaml, once for each subject and checked as far as the file tells; `expand` calls `resolve`.

Whether the tasks that they read exist, the plan knows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline.files.names import is_safe_relative

from . import schema
from .cells import Cell, ModelVariant
from .diagnostics import Diagnostics, suggest
from .document import Steps
from .matrix import CustomStep, ModelFile, StepInput
from .paths import must_be_apart, must_exist, normal
from .placeholders import filled, wrong_names
from .step_schema import Step

FOLDERS = frozenset(
    {"cache", "checkouts", "cmake", "lib", "lock", "log", "scratch", "stamp", "stat-cache", "store", "toolchains"}
)
"""What else lies in build/, where each step has a folder. The names of our steps are for the plan to know."""

OUT = "out"
INPUT = "in."

_STAND_IN = {"model": "model", "variant": "model", "product": "product"} | dict.fromkeys(
    ("backend", "toolchain", "arch", "platform", "triple"), "cell"
)
"""Placeholder -> the least that a step must be for where it is to stand for something."""

_FILTERS = {"models": ("model", "cell"), "backends": ("cell",)}


@dataclass(frozen=True)
class _Subject:
    """What a step is run for: the placeholders that stand for its parts, and the names by which filters choose it."""

    name: str
    values: Mapping[str, str]
    models: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()


@dataclass
class _Filler:
    """Fills placeholders in, and reports one that is not known, once for each place."""

    problems: Diagnostics
    values: Mapping[str, str] = field(default_factory=dict)
    reported: set[Steps] = field(default_factory=set)

    def __call__(self, place: Steps, text: str, later: Collection[str] = ()) -> str:
        known = {*self.values, *later}
        wrong = next(wrong_names(text, known), None)
        if wrong is None:
            return filled(text, self.values, later=later)
        if place not in self.reported:
            self.reported.add(place)
            what = "this brace" if wrong in "{}" else f"`{{{wrong}}}`"
            hint = f"{suggest(wrong, known, 'placeholders')}; a brace itself is written twice, `{{{{`"
            if wrong.startswith(INPUT):
                hint = f"declare `{wrong.removeprefix(INPUT)}` under `inputs`; {hint}"
            elif wrong in _STAND_IN:
                hint = f"it stands for something in a step with `for: {_STAND_IN[wrong]}`; {hint}"
            self.problems.add(place, f"{what} stands for nothing here", hint)
        return ""


def resolve(
    targets: schema.Targets,
    cells: Sequence[Cell],
    models: Iterable[ModelVariant | ModelFile],
    root: Path,
    problems: Diagnostics,
) -> tuple[CustomStep, ...]:
    """Return every step for each of its subjects, after reporting what is wrong with them.

    `cells` is everything that is compiled, `models` are the variants of the matrix and models that are files.
    """
    subjects = {
        "model": [_of_model(one) for one in models],
        "cell": [_of_cell(one) for one in cells],
        "product": [_Subject(name, {"subject": name, "product": name}) for name in targets.products],
        "once": [_Subject("once", {"subject": "once"})],
    }
    made: list[CustomStep] = []
    for name, spec in targets.steps.items():
        here: Steps = ("steps", name)
        if name.lower() in FOLDERS:
            problems.add(here, f"`{name}` is taken by Slipway", "give the step another name", key=True)
        elif spec.ship and name.lower() in map(str.lower, targets.products):
            problems.add(here, f"`{name}` is a product too, and both would be in dist/{name}", "rename one", key=True)
        fill = _Filler(problems)
        for subject in _chosen(here, spec, subjects[spec.for_], problems):
            fill.values = subject.values
            made.append(_made(here, spec, subject.name, root, fill))
    return tuple(made)


def _of_model(model: ModelVariant | ModelFile) -> _Subject:
    if isinstance(model, ModelFile):
        return _Subject(model.name, model.names, models=(model.name,))
    options = {
        f"option.{key}": str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in model.options.items()
        if isinstance(value, str | int | float)
    }
    return _Subject(model.subject, {**options, **model.names}, models=(model.model, model.subject))


def _of_cell(cell: Cell) -> _Subject:
    model, backend = _of_model(cell.model), cell.backend
    own = {"arch": backend.arch, "platform": backend.platform, "triple": backend.triple}
    values = {**model.values, **cell.names, "toolchain": cell.toolchain, **own}
    return _Subject(cell.subject, values, model.models, (backend.name,))


def _chosen(here: Steps, spec: Step, subjects: Iterable[_Subject], problems: Diagnostics) -> list[_Subject]:
    """The subjects that pass the filters; one that lets nothing pass is a slip."""
    chosen = list(subjects)
    if not chosen:
        problems.add((*here, "for"), f"there is no {spec.for_} to run it for", "choose another, or remove the step")
    for key, suited in _FILTERS.items():
        patterns: Sequence[str] = getattr(spec, key)
        if patterns and spec.for_ not in suited:
            hint = f"remove it, or run the step for a {suited[-1]}"
            problems.add((*here, key), f"a step for {spec.for_} has no {key} to choose", hint, key=True)
            continue
        for number, pattern in enumerate(patterns):
            if not any(_matches(one, key, pattern) for one in chosen):
                known = {name for one in chosen for name in getattr(one, key)}
                problems.add((*here, key, number), f"no {key[:-1]} matches `{pattern}`", suggest(pattern, known, key))
        if patterns:
            chosen = [one for one in chosen if any(_matches(one, key, pattern) for pattern in patterns)]
    return chosen


def _matches(subject: _Subject, key: str, pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in getattr(subject, key))


def _made(here: Steps, spec: Step, subject: str, root: Path, fill: _Filler) -> CustomStep:
    """The step for one subject."""
    inputs = dict(_inputs(here, spec, root, fill))
    later = (OUT, *(f"{INPUT}{name}" for name in inputs))
    command = tuple(fill((*here, "command", number), word, later) for number, word in enumerate(spec.command))
    program = _program(here, command[0], inputs, root, fill.problems)
    _check_words(here, command, inputs, root, fill)
    outputs = tuple(fill((*here, "outputs", number), name) for number, name in enumerate(spec.outputs))
    for number, output in enumerate(outputs):
        if output and not is_safe_relative(output):
            what = f"`{output}` is not a place below the directory of the outputs"
            fill.problems.add((*here, "outputs", number), what, "write names with `/` between, without `.` and `..`")
    environment = {key: fill((*here, "environment", key), value, later) for key, value in spec.environment.items()}
    for number, key in enumerate(spec.secrets):
        if key in environment:
            fill.problems.add((*here, "secrets", number), f"`{key}` is in `environment` too", "keep one of them")
    return CustomStep(
        name=str(here[1]),
        subject=subject,
        command=command,
        program=program,
        inputs=inputs,
        outputs=outputs,
        environment=environment,
        secrets=spec.secrets,
        timeout=spec.timeout,
        ship=spec.ship,
        where=fill.problems.document.at(here, key=True),
    )


def _inputs(here: Steps, spec: Step, root: Path, fill: _Filler) -> Iterator[tuple[str, StepInput]]:
    for name, one in spec.inputs.items():
        place = (*here, "inputs", name)
        where = fill.problems.document.at(place)
        if one.task is not None:
            yield name, StepInput(None, fill(place, one.task), tuple(fill(place, file) for file in one.files), where)
            continue
        path = fill(place, one.path or "")
        if path:  # else it was reported
            _check_path(place, path, root, fill)
        yield name, StepInput(normal(path), None, (), where)


def _check_path(place: Steps, path: str, root: Path, fill: _Filler) -> None:
    """Report a path that cannot be read, once for each place."""
    if place in fill.reported:
        return
    if normal(path).split("/")[0] in {"build", "dist"}:
        hint = "name the task that makes it: `bundle:{subject}`"
        fill.problems.add(place, f"`{path}` is where results are put", hint)
    elif must_be_apart(place, path, root, fill.problems):
        return
    fill.reported.add(place)


def _program(here: Steps, word: str, inputs: dict[str, StepInput], root: Path, problems: Diagnostics) -> str | None:
    """The program that is to be found on PATH; where it is a file, that becomes an input."""
    if not word or word.startswith(f"{{{INPUT}"):
        return None
    if "/" not in word:
        return word.replace("{{", "{").replace("}}", "}")
    place = (*here, "command", 0)
    path = normal(word)
    if not _is_in(path, inputs) and must_exist(place, path, root, problems):
        inputs[path] = StepInput(path, None, (), problems.document.at(place))
    return None


def _check_words(
    here: Steps, command: Iterable[str], inputs: Mapping[str, StepInput], root: Path, fill: _Filler
) -> None:
    """A file of the tree that is named and no input is not there when the command runs."""
    for number, word in enumerate(command):
        place = (*here, "command", number)
        if place in fill.reported or not number or not {"/", "."} & set(word) or not is_safe_relative(normal(word)):
            continue
        if (root / word).is_file() and not _is_in(normal(word), inputs):
            fill.reported.add(place)
            hint = "add it to `inputs`: the step runs in a folder that holds nothing but those"
            fill.problems.add(place, f"`{word}` is a file that the step does not declare", hint)


def _is_in(path: str, inputs: Mapping[str, StepInput]) -> bool:
    """Whether a path is one of the inputs, or in one of them."""
    return any(
        one.path is not None and (path == one.path or path.startswith(f"{one.path}/")) for one in inputs.values()
    )
