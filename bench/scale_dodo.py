"""A dodo.py for the generated graph: Slipway's engine on the same tasks as the peers of `scale.py`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline import session
from pipeline.action import Action, Upstream
from pipeline.dodo import DOIT_CONFIG, task_slipway  # noqa: F401 - doit looks for them here

HERE = Path(__file__).resolve().parent


def plan(opened: session.Session) -> Iterator[Action]:
    """M weights, M x B compiles, B archives, B flags, B / 2 packs."""
    size = json.loads(opened.targets.read_text())
    models = [f"m{i}" for i in range(size["models"])]
    backends = [f"b{i}" for i in range(size["backends"])]
    for m in models:
        yield join(f"weights-{m}", "w.bin", files={"source": f"src/{m}.txt"})
    for b in backends:
        for m in models:
            yield join(f"compile-{m}-{b}", "o.bin", upstream=[f"weights-{m}"], reads="w.bin")
    for b in backends:
        yield join(f"archive-{b}", "a.bin", upstream=[f"compile-{m}-{b}" for m in models], reads="o.bin")
    for b in backends:
        yield join(f"flags-{b}", "f.bin", upstream=[f"archive-{b}"], reads="a.bin")
    for one, two in zip(backends[::2], backends[1::2], strict=False):
        yield join(f"pack-{one}", "p.bin", upstream=[f"archive-{one}", f"archive-{two}"], reads="a.bin")


def join(subject, writes, files=None, upstream=(), reads=""):
    return Action(
        step="join",
        subject=subject,
        out=f"build/out/{subject}",
        params={"writes": writes, "reads": reads, "line": f"{subject}\n"},
        files=files or {},
        upstream={name: Upstream(f"join:{name}") for name in upstream},
        outputs=(writes,),
    )


sys.path.insert(0, str(HERE))
session.use(plan, steps="scale_steps")
