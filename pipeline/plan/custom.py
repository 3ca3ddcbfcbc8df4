"""Custom steps as actions: what they read is known to exist, and none waits for itself. `plan` calls it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from itertools import pairwise

from pipeline import roles
from pipeline.action import Action, AnyAction, Upstream
from pipeline.errors import MatrixError
from pipeline.matrix.matrix import CustomStep, Matrix, StepInput
from pipeline.steps import custom

from .models import by_role
from .products import shipped

_PATTERN = frozenset("*?[")

_LISTED = 5
"""Tasks that a hint names."""


def custom_actions(matrix: Matrix, others: Sequence[AnyAction]) -> list[AnyAction]:
    """The actions of all custom steps; `others` are those that they may read.

    Raises:
        MatrixError: a step has the name of one of ours, or reads a task that there is not.
    """
    steps = {step.task: step for step in matrix.steps}
    taken = {action.step: action.name for action in others}
    for step in steps.values():
        if step.name.lower() in taken:
            what = f"the name of the step {step.name} is taken: there is a task {taken[step.name.lower()]}"
            raise MatrixError(what, where=step.where, hint="give the step another name")
    known = {*steps, *(action.name for action in others)}
    return [_action(step, _edges(step, known)) for step in steps.values()]


def _edges(step: CustomStep, known: Collection[str]) -> dict[str, Upstream]:
    """Name of an input -> what it reads; of one that is a pattern, `name/subject` for each task that it matches."""
    edges: dict[str, Upstream] = {}
    for name, one in step.inputs.items():
        if one.task is None:
            continue
        kind, _, subject = one.task.partition(":")
        plural = "*" in subject and "*" not in kind  # one kind, as they are told apart by their subjects
        matching = [task for task in known if plural and fnmatchcase(task, one.task)]
        if not matching and one.task not in known:
            raise _no_task(step, one, known)
        # A subject is the name of one directory: `native/minilm-f32@host` would be in that of `native`.
        flat = {task: task.partition(":")[2].replace("/", ".") for task in sorted(matching)}
        several = {f"{name}/{subject}": Upstream(task, one.only) for task, subject in flat.items()}
        edges |= several or {name: Upstream(one.task, one.only)}
    return edges


def _no_task(step: CustomStep, one: StepInput, known: Collection[str]) -> MatrixError:
    kind, _, subject = str(one.task).partition(":")
    alike = [name for name in known if name.startswith(f"{kind}:")] or [*known]
    near = get_close_matches(str(one.task)[:100], alike, _LISTED, cutoff=0.0)
    from pipeline.matrix.diagnostics import suggest  # noqa: PLC0415 - it loads YAML, which a mistake is worth

    hint = f"{suggest(str(one.task), near, 'tasks like it')}; doit list --all names all of them"
    if subject == step.subject == "once":
        hint = f"the step runs once, and `{{subject}}` is `once` then: add `for: model` (or cell, product); {hint}"
    return MatrixError(f"steps.{step.name}: there is no task {one.task}", where=one.where, hint=hint)


def in_order(matrix: Matrix, actions: Sequence[AnyAction]) -> tuple[AnyAction, ...]:
    """The actions, upstream before downstream: steps may read anything, and a layout may have their outputs.

    They are in this order already, but for steps and what waits for them. The rest keeps its order.

    Raises:
        MatrixError: a step waits for itself.
    """
    steps = {step.task: step for step in matrix.steps}
    if not steps:
        return tuple(actions)
    places = {action.name: place for place, action in enumerate(actions)}
    sorter = TopologicalSorter({one.name: one.waits_for for one in actions})
    try:
        sorter.prepare()
    except CycleError as error:
        raise _cycle(error.args[1], steps) from error
    ready: list[int] = []
    found = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heappush(ready, places[name])
        found.append(actions[heappop(ready)])
        sorter.done(found[-1].name)
    return tuple(found)


def _cycle(names: list[str], steps: Mapping[str, CustomStep]) -> MatrixError:
    """Each name is read by the next one; the last is the first. One of them is a step, as all cycles have one."""
    read, name = next(pair for pair in pairwise(names) if pair[1] in steps)
    reader = steps[name]
    where = next(one.where for one in reader.inputs.values() if one.task and fnmatchcase(read, one.task))
    way = " reads ".join(reversed(names))
    return MatrixError(f"steps.{reader.name}: {way}", where=where, hint="take one of these inputs out")


def _action(step: CustomStep, edges: Mapping[str, Upstream]) -> AnyAction:
    files = {name: one.path for name, one in step.inputs.items() if one.path is not None}
    return Action(
        step=step.name,
        run=custom.run,
        subject=step.subject,
        params=custom.Params(
            command=step.command,
            program=step.program,
            paths={**files, **dict.fromkeys(edges, "")},
            outputs=step.outputs,
            environment=step.environment,
            secrets=step.secrets,
            timeout=step.timeout,
        ),
        files={roles.given(name): path for name, path in files.items()},
        upstream={roles.given(name): edge for name, edge in edges.items()},
        tools=(f"{custom.PROGRAM}{step.program}",) if step.program is not None else (),
        outputs=() if any(_PATTERN & set(name) for name in step.outputs) else step.outputs,
        runs_command=True,
        doc=f"your step {step.name} for {step.subject}" if step.subject != "once" else f"your step {step.name}",
        where=step.where,
    )


def shipped_steps(matrix: Matrix, actions: Iterable[AnyAction]) -> Iterator[AnyAction]:
    """The outputs of steps that are shipped, once everything is proven that they are made of."""
    by_name = {action.name: action for action in actions}
    proofs = _proofs(matrix)
    for step in matrix.steps:
        if not step.ship:
            continue
        upstream = {roles.part(step.task): Upstream(step.task), **_proofs_behind([step.task], by_name, proofs)}
        doc = f"the outputs of {step.task}, once they are made of what is proven"
        yield shipped(f"{step.name}/{step.subject}", upstream, doc, step.where)


def proven_layouts(matrix: Matrix, actions: Iterable[AnyAction], published: Iterable[AnyAction]) -> Iterator[AnyAction]:
    """What is published, where layouts wait for the proofs of all that their further files are made of.

    `actions` are all that may be upstream of a layout.
    """
    by_name = {action.name: action for action in actions}
    further = {f"product:{one.name}": [file.task for file in one.files] for one in matrix.products if one.files}
    proofs = _proofs(matrix) if further else {}
    for action in published:
        tasks = further.get(action.name)
        more = _proofs_behind(tasks, by_name, proofs) if tasks else {}
        yield replace(action, upstream={**action.upstream, **more}) if more else action


def _proofs_behind(
    tasks: Iterable[str], actions: Mapping[str, AnyAction], proofs: Mapping[str, Collection[str]]
) -> dict[str, Upstream]:
    """The proofs of everything that some tasks' outputs are made of."""
    behind = (action for task in tasks for action in _behind(task, actions))
    proven = {one for action in behind for one in proofs.get(action.subject, ())}
    return by_role(map(roles.proof, sorted(proven)))


def _proofs(matrix: Matrix) -> dict[str, set[str]]:
    """Subject of an action -> the backends and products whose proofs say something of it."""
    found: dict[str, set[str]] = {one.name: {one.name, *one.backends} for one in matrix.products}
    for cell in matrix.every_cell:
        for subject in (cell.subject, cell.model.subject, cell.backend.name):
            found.setdefault(subject, set()).add(cell.backend.name)
    return found


def _behind(name: str, actions: Mapping[str, AnyAction]) -> list[AnyAction]:
    """An action and everything upstream of it."""
    todo, found = [name], dict[str, AnyAction]()
    while todo:
        action = actions[todo.pop()]
        if action.name not in found:
            found[action.name] = action
            todo += action.waits_for
    return list(found.values())
