"""The part of the plan that is about models which are not compiled: GGUF and LiteRT files. `plan` calls it."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline import roles
from pipeline.action import Action, AnyAction, Upstream
from pipeline.matrix.matrix import Matrix
from pipeline.steps import model_file

from .lockfile import Pins
from .models import fetching

RUNTIMES = {"gguf": "llama.cpp", "litert": "LiteRT"}


def model_file_actions(matrix: Matrix, lock: Pins) -> Iterator[AnyAction]:
    """Fetch each file, and bundle it with what it says of itself."""
    for model in matrix.files:
        doc = f"fetch and check the file of {model.name}"
        yield fetching("weights", model.name, model.source, lock, doc=doc, where=model.where)
        yield Action(
            step="bundle",
            run=model_file.run,
            link_outputs=True,
            subject=model.name,
            out=f"build/bundle/{model.name}",
            params=model_file.Params(model.name, model.kind, model.sha256),
            upstream={roles.WEIGHTS: Upstream(f"weights:{model.name}")},
            doc=f"{model.name} for {RUNTIMES[model.kind]}, checked",
            where=model.where,
        )
