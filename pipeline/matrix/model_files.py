"""Models of targets.yaml that are files for other runtimes, as `ModelFile`s; `expand` calls `resolve`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from . import model_schema, schema
from .diagnostics import Diagnostics
from .model_file import FileKind, ModelFile
from .paths import must_be_apart, must_exist
from .weights_schema import PathFile, source_of


def is_file(spec: model_schema.Model) -> bool:
    """Whether a model of targets.yaml is one of these."""
    return spec.gguf is not None or spec.litert is not None


def resolve(targets: schema.Targets, root: Path, problems: Diagnostics) -> Iterator[ModelFile]:
    """Every such model, after reporting a file of the user's that is not there."""
    for name, spec in targets.models.items():
        kind: FileKind = "gguf" if spec.gguf is not None else "litert"
        written = spec.gguf or spec.litert
        if written is None:
            continue
        place = ("models", name, kind)
        if isinstance(written, PathFile):
            of_path, path = (*place, "path"), written.path
            there = must_be_apart(of_path, path, root, problems) and must_exist(of_path, path, root, problems)
            if there and not (root / path).is_file():
                problems.add(of_path, f"`{path}` is a directory", "name the file in it")
        where = problems.document.at(place, key=True)
        sha256 = written.sha256 if isinstance(written, PathFile) else None
        yield ModelFile(name, kind, source_of(written), sha256, where, spec.estimated_vram_bytes)
