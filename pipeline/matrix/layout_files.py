"""What a layout has besides libraries: bundles of any models, outputs of custom steps. `layouts` calls `resolve`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from . import schema
from .cells import Cell, FilePlacement, ModelVariant
from .custom import CustomStep
from .diagnostics import Diagnostics, suggest
from .document import Steps
from .model_file import ModelFile
from .path_patterns import wrong_pattern


@dataclass(frozen=True)
class Outputs:
    """What a task puts out, as far as it is known before it has run.

    Attributes:
        values: what placeholders stand for in a path of it.
        one_file: whether it may be a single file.
    """

    values: Mapping[str, str]
    one_file: bool


def outputs_of(
    cells: Iterable[Cell], models: Iterable[ModelVariant], files: Iterable[ModelFile], steps: Iterable[CustomStep]
) -> dict[str, Outputs]:
    """Every task whose outputs a layout can have, by name."""
    models = tuple(models)
    values = {one.name: {"subject": one.name, "model": one.name} for one in files}
    values |= {one.subject: _of_model(one) for one in models}
    of_cells = {
        one.subject: {**_of_model(one.model), "subject": one.subject, "backend": one.backend.name} for one in cells
    }
    found = {f"bundle:{name}": Outputs(one, one_file=True) for name, one in values.items()}
    found |= {f"bundle:{one.subject}": Outputs(values[one.subject], one_file=False) for one in models if one.has_bundle}
    for step in steps:
        known = (values | of_cells).get(step.subject, {"subject": step.subject})
        found[step.task] = Outputs(known, one_file=len(step.outputs) == 1)
    return found


def _of_model(model: ModelVariant) -> dict[str, str]:
    return {"subject": model.subject, "model": model.model, "variant": model.variant}


def resolve(
    here: Steps, spec: schema.Product, tasks: Mapping[str, Outputs], problems: Diagnostics
) -> Iterator[tuple[Steps, FilePlacement]]:
    """What goes where, each with its place in the file, after reporting what is wrong.

    Args:
        here: place of the product.
        spec: what targets.yaml says of it.
        tasks: those whose outputs can be laid out.
        problems: gets the problems.
    """
    for name, one in (spec.files or {}).items():
        place = (*here, "files", name)
        chosen = _chosen(name, tasks)
        if not chosen:
            what = f"there is no bundle and no step `{name}`"
            nearest = name if ":" in name else f"bundle:{name}"
            problems.add(place, what, suggest(nearest, tasks, "bundles and steps"), key=True)
            continue
        key, pattern = ("file", one.file) if one.file is not None else ("directory", str(one.directory))
        several = [task for task in chosen if not tasks[task].one_file]
        known = [name for name in tasks[chosen[0]].values if all(name in tasks[task].values for task in chosen)]
        if key == "file" and several:
            what = f"{several[0]} puts out several files"
            problems.add((*place, key), what, "name a `directory` for them, instead of `file`", key=True)
        elif (wrong := wrong_pattern(pattern, known)) is not None:
            problems.add((*place, key), *wrong)
        else:
            for task in chosen:
                path = pattern.format(**tasks[task].values)
                yield (*place, key), FilePlacement(task, path, alone=key == "file")


def _chosen(name: str, tasks: Mapping[str, Outputs]) -> Sequence[str]:
    """The tasks that a name stands for: one, or with `*` behind its colon several of a kind."""
    if "*" in name.partition(":")[0]:
        return ()
    return [task for task in tasks if fnmatchcase(task, name)]
