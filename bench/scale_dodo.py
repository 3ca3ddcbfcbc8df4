"""A dodo.py for the generated graph: Slipway's engine on the same tasks as the peers of `scale.py`."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from scale_steps import join as step

from pipeline.action import Action, Upstream
from pipeline.dodo import DOIT_CONFIG, task_slipway  # noqa: F401 - doit looks for them here
from pipeline.doit_plugin import session
from pipeline.project import Project


def plan(project: Project) -> Iterator[Action[step.Params]]:
    """M weights, M x B compiles, B archives, B flags, B / 2 packs."""
    size = json.loads(project.targets.read_text())
    models = [f"m{i}" for i in range(size["models"])]
    backends = [f"b{i}" for i in range(size["backends"])]
    for m in models:
        yield join(f"weights-{m}", files={"source": f"src/{m}.txt"})
    for b in backends:
        for m in models:
            yield join(f"compile-{m}-{b}", [f"weights-{m}"])
    for b in backends:
        yield join(f"archive-{b}", [f"compile-{m}-{b}" for m in models])
    for b in backends:
        yield join(f"flags-{b}", [f"archive-{b}"])
    for one, two in zip(backends[::2], backends[1::2], strict=False):
        yield join(f"pack-{one}", [f"archive-{one}", f"archive-{two}"])


def join(subject: str, upstream: Sequence[str] = (), files: Mapping[str, str] | None = None) -> Action[step.Params]:
    """One task. Its output is `build/out/<subject>`, in one directory with all others, as those of the peers are."""
    return Action(
        step="join",
        run=step.run,
        subject=subject,
        out="build/out",
        params=step.Params(subject),
        files=files or {},
        upstream={name: Upstream(f"join:{name}") for name in upstream},
        outputs=(subject,),
    )


session.use(plan)
